"""Models, versions, aliases, deployments and grants: what exists, who may use it, and where it is to run.

Imported by billing, inference and config; imports tenants and what lies below it, never upwards.
"""
