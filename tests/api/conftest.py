"""The cast, behind REST clients."""

from __future__ import annotations

import pytest

from tests.api.client import REST, with_key


@pytest.fixture
def alice_rest(alice_client):
    """Alice, owner of Acme."""
    return REST(alice_client)


@pytest.fixture
def bob_rest(bob_client):
    """Bob, developer of Acme."""
    return REST(bob_client)


@pytest.fixture
def dana_rest(dana_client):
    """Dana, viewer of Acme."""
    return REST(dana_client)


@pytest.fixture
def charlie_rest(charlie_client):
    """Charlie, owner of Globex."""
    return REST(charlie_client)


@pytest.fixture
def olive_rest(olive_client):
    """Olive, operator."""
    return REST(olive_client)


@pytest.fixture
def sam_rest(sam_client):
    """Sam, support."""
    return REST(sam_client)


@pytest.fixture
def acme_rest(acme):
    """A program of Acme that may read and manage."""
    return with_key(acme, "read", "manage")


@pytest.fixture
def reading_rest(acme):
    """A program of Acme that may read."""
    return with_key(acme, "read")
