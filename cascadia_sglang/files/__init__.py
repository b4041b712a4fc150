"""Text that people write: JSON, YAML, structs, and the values in them."""
