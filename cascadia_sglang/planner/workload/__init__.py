"""Requests to plan for: traces and rates."""
