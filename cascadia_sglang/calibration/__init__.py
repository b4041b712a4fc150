"""Fits scores and thresholds on an operator's own sample, and says what they are worth.

The core (`pool`, `fit`, `replay`, `thresholds`, `certify`, `calibrate`) is pure: arrays in, values
out. Around it, `sample`, `recording` and `labels` make the arrays, `page` and `picture` show them.
"""
