"""The cascade file that `cascadia init` writes."""
