"""Step times of workers: measured profiles, rooflines and fits."""
