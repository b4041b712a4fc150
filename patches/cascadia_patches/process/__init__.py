"""Hooks on what an SGLang process asks of itself: its log, its progress, its memory."""
