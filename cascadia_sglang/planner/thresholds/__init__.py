"""Thresholds: searched on a sample, replayed on it, and certified by it."""
