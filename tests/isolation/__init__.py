"""Walls between tenants: found by walking the models, the database and the routes, not by listing them."""
