"""REST routes of models, versions, aliases and grants. config.api mounts them; inference.api builds on the
fields.
"""
