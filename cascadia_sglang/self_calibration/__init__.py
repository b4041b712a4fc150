"""Calibrates the tiers of a running cascade on its own traffic, by agreement with the last tier."""
