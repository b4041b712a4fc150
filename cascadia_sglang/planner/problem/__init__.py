"""Problem files and their checks."""
