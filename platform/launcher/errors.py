"""The one exception that a person is meant to read."""


class StartError(Exception):
    """Why the platform cannot start or go on, as one sentence that says what to do. Shown as it is, exit status 1."""
