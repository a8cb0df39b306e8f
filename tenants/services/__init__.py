"""Writes of this app, by aggregate: `tenants`, `members`; and `demo`, the tenants of a first start."""
