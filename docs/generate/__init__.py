"""Writes the pages of docs/reference that come from the code, and builds the site of docs/."""
