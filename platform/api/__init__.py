"""REST plumbing: authentication, permissions, errors, paging, idempotency, schema. Apps above console
import it.
"""
