"""Engine workers: launched, watched, picked, stopped."""
