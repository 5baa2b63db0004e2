"""How good a model is, and why."""
