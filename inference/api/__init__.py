"""REST routes of deployments, with what really runs, and of nodes. config.api mounts them; nobody else
imports.
"""
