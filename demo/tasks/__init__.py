"""What the demo is asked: its task families, their splits and their tokenizer."""
