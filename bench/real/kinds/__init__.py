"""Kinds of generated questions, each in eight wordings or more."""
