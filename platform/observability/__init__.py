"""Logs, request lines, health endpoints and `manage.py doctor`. Everyone may import it; it knows only
core.
"""
