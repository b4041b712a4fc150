"""Measures a machine: real workers under made-up load, their steps fitted to a profile."""
