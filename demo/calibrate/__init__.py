"""Measures what the demo's models answer, and fits their calibration files to it."""
