"""The families of questions of the three mixes that `bench.real.share` asks."""
