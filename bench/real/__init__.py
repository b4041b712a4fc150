"""Benches on real models: what climbs, how well that is chosen, and how good the scores are."""
