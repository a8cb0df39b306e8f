"""Settings by surroundings: base for all, local (make run), test, production."""
