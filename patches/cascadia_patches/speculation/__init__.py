"""Hooks on speculative decoding: its verification, and what that needs on hosts without a GPU."""
