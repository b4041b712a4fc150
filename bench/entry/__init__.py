"""What the pre-generation router is worth: on RouteLLM's evaluation sets, and on the demo."""
