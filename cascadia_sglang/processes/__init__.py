"""What several processes share: signs of life, logs, an end with the parent."""
