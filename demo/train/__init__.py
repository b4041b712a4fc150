"""Trains the demo's models and exports them."""
