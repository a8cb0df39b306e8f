"""Kernel without business nouns: scope, row-level security, ids, errors, dispatch. Everyone may import it."""
