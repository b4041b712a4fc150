"""Which answers climb, what share must, and what that costs."""
