"""Doubles for tests of the request path."""
