"""Hooks on the start of SGLang: its flags, its processes, its HTTP server."""
