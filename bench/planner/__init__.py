"""Benches of the planner: its solver, its searches of thresholds, its simulator."""
