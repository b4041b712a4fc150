"""Simulates a cascade's replicas, request by request."""
