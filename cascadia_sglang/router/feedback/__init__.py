"""Feedback of finished prompts: scores, labels, counters."""
