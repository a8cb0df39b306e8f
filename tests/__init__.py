"""The tests. One folder per app; shared fixtures in conftest.py, servers in services.py."""
