"""What a calibration of the demo is worth: its scores' quality, and whether its bound holds."""
