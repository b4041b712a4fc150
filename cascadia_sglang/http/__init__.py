"""Status routes, response headers, model list."""
