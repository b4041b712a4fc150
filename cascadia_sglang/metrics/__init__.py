"""The metrics of a cascade: their families, their labels, their counters."""
