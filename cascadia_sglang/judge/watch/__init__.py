"""Watches that tell whether a calibration still fits the traffic."""
