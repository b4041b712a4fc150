"""How latency depends on the load and on the replicas."""
