"""What the benches share: servers as child processes, a light HTTP client, estimates, rows."""
