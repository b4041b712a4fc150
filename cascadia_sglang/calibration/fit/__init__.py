"""Fits scores, chooses thresholds and bounds the risk."""
