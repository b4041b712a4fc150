"""The request path: cascade, attempt, policy."""
