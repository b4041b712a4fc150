"""The workers that serve, and the choice among them."""
