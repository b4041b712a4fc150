"""Reports the quality of a calibration, and writes its files."""
