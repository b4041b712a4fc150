"""Requests to a cascade of several voices: whose handler writes the prompt and reads the answer."""
