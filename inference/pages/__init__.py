"""Pages of requests: the call log and the story of one request."""
