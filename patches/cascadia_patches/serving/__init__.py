"""Hooks on the handlers of SGLang's routes and on its parsers of tool calls."""
