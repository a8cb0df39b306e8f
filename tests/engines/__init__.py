"""The engines behind the port: one contract for all of them, and what is particular to each."""
