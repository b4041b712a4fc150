"""The cascade file: its settings, checks and defaults."""
