"""How it is done: pure steps, and one adapter module per outside system."""
