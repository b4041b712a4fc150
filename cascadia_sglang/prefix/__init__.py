"""What the workers' prefix caches hold, what that is worth, and how it is kept warm."""
