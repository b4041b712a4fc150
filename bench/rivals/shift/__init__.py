"""Re-planning beside a controller like CascadeServe's, on traffic that shifts."""
