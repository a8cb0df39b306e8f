"""REST routes of tenants, members, API keys, the audit trail and `me`. config.api mounts them; nobody else
imports.
"""
