"""Support for single clients: Ollama, Anthropic, the Responses API."""
