"""Writes of this app: `keys` made, rotated and revoked; `usage`, when they were last used."""
