"""The way of a request: surface, gateway, queue, replica."""
