"""Benches, and the demo models they serve."""
