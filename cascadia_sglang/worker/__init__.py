"""Code that runs inside the process of an engine worker."""
