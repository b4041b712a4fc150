"""Checks of everything that a CUDA device can show, for a machine that has no SGLang."""
