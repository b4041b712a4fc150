"""What a cascade of the demo is worth, beside each of its tiers."""
