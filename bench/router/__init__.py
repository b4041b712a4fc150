"""What the cascade costs and what it keeps, measured on the ladder's own server."""
