"""Memory of devices and hosts: the needs of models, and shares of workers."""
