"""Hooks on the scheduler of an engine worker: its queue, its batches, its requests."""
