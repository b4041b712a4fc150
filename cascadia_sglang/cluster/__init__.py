"""Workers on further machines: an agent on each, and Ray's driver in a process of its own."""
