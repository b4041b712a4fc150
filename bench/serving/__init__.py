"""What a cascade of the ladder is worth, beside each of its tiers."""
