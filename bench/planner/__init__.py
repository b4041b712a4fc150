"""Benches of the planner: the solver's speed, and what its routing methods find."""
