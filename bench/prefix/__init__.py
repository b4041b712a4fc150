"""What prefix caches are worth across tiers and workers."""
