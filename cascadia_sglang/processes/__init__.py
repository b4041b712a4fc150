"""Support for processes: heartbeats, logs, child processes, an end with the parent."""
