"""Parts of `bench.real.share`: what a live run shows, and how it is reported."""
