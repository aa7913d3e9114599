"""Ways into it."""
