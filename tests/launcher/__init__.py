"""The launcher, on real PostgreSQL and Valkey, with small stand-ins for the servers that it starts."""
