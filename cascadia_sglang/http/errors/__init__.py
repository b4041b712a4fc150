"""Errors in the shape that the clients of each route expect."""
