"""The ladder: small language models trained here from scratch, as tiers for demos and tests."""
