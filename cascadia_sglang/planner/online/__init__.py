"""Plans for a running server, from the requests of a window."""
