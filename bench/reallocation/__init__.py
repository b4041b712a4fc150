"""What moving capacity costs, and what it gains; on emulated devices."""
