"""The queue of waiting requests in Valkey, the way of tokens back, and who is alive; for web and engine side."""
