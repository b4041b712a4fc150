"""Records and labels every tier's answers to a sample."""
