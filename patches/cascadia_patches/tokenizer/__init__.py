"""Hooks on the tokenizer manager of the main process: requests, control calls, replies."""
