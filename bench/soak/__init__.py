"""The long soak: requests of every kind while processes are killed, stopped and moved."""
