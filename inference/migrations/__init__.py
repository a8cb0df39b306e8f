"""Schema history of the inference application."""
