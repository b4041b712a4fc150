"""Routes of the operator's page, and how a browser logs in to them."""
