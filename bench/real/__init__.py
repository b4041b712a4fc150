"""Benches on two real models: the share that climbs, and how well the rank chooses."""
