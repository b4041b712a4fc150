"""Reads the answer out of a model's text: a number, a date or words."""
