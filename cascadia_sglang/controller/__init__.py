"""Moves capacity while requests run: observes the traffic, decides, and carries the steps out."""
