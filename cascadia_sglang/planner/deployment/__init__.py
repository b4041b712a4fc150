"""How many GPUs each tier gets, in which shape, and where."""
