"""Benches of drafts that the next tier reads."""
