"""Pages of a tenant's keys and members. Views are thin: services decide, selectors read."""
