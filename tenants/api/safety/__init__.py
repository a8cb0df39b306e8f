"""REST of the safety rules, a tenant's and the platform's; here because `safety` lies below `api`."""
