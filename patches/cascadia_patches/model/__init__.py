"""Hooks on the model of an engine worker: its loading, its forward, its sampling."""
