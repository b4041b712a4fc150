"""What one kind of client needs: Ollama, Anthropic, the Responses API."""
