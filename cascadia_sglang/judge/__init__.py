"""The in-engine scorer: running state of an answer, its features, the calibrated score."""
