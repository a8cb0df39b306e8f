"""People: the user account, signing in, bounds on guessing. Every layer above observability may import it."""
