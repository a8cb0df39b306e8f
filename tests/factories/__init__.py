"""Factories, one module per app. Each model behind a wall has one that takes `tenant=`.

They write through the platform door, so that a test can make rows of several tenants without entering scopes;
tests of services make theirs through services.
"""
