"""What an operator writes: the cascade file, its checks and its defaults."""
