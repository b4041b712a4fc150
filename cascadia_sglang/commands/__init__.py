"""What `cascadia NAME` does: a module a command, with `add_arguments` and `run`."""
