"""No worker sees a request that could end it."""
