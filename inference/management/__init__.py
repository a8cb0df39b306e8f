"""Commands that touch several apps."""
