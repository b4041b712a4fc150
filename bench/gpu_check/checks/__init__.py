"""The stages of the check, one module each, and what they share."""
