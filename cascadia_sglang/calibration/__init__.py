"""Fits scores and thresholds on an operator's own sample, and reports their quality.

The core (`pool`, `fit`, `replay`, `thresholds`, `certify`, `calibrate`) is pure: arrays in, values
out. Around it, `sample`, `recording` and `labels` make the arrays, `page` and `picture` show them.
"""
