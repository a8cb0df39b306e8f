"""Writes of this app: `users`."""
