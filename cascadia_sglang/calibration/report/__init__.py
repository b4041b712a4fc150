"""What a calibration is worth, and the files that it writes."""
