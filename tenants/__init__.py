"""Tenants, their members, and the middleware that opens a tenant's scope.

Registry, billing, inference and config may import it; api, console, access, audit and accounts may not.
"""
