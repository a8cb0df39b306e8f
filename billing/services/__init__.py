"""Writes of this app: `usage` takes in usage records."""
