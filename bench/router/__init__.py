"""What the cascade costs and what it keeps, measured on the demo's own server."""
