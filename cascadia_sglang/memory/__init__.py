"""Memory of devices and hosts: what models need, and how workers that share it divide it."""
