"""Pages of the shell. Views read what the middleware put on the request and carry no rules of their own."""
