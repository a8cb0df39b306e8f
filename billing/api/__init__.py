"""REST routes of usage. config.api mounts them; nobody else imports."""
