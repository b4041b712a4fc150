"""Calibrations of real models for the ready cascades in `examples/`."""
