"""Real servers for the tests, as a pytest plugin: started before Django's settings are read, gone at the end.

PostgreSQL (without durability) and Valkey come from the same packages as in `make run`. With pytest-xdist all
processes share one PostgreSQL, each with databases of its own (tests/database.py), and each process has a Valkey
of its own, because channels for messages are not told apart by database number.

Servers of your own are named by ATRIUM_TEST_DATABASE_URL (a role that may create roles and databases) and
ATRIUM_TEST_REDIS_URL. DATABASE_URL and REDIS_URL are deliberately not looked at: whoever has a shell pointed at a
production database may still run the tests.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

from launcher import database
from launcher.access import role_passwords
from launcher.secrets import Secrets
from launcher.services import Services

# Thousands of tests are many objects that stay: looking through all of them again and again takes a tenth of the time.
gc.set_threshold(100_000, 50, 100)

# Set by the first process of a test run: those that it starts take its PostgreSQL.
_SHARED = "ATRIUM_TEST_SERVICES"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None, object, object]:
    """A wrapper runs before pytest-django's own hook, which reads the settings."""
    start()
    return (yield)


def start() -> None:
    """Start what is not there yet and export it as the servers' environment. Ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="atrium-test-"))
    folder.chmod(0o711)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    first = _SHARED not in os.environ
    given_database, given_redis = (
        os.environ.get(f"ATRIUM_TEST_{kind}_URL", "") for kind in ("DATABASE", "REDIS")
    )
    services = Services(folder / "home", durable=False)
    services.start(postgres=first and not given_database, valkey=not given_redis)
    atexit.register(services.stop)
    if first:
        if given_database:
            passwords = role_passwords(Secrets(services.home.secrets))
            access, admin_url = database.provision(given_database, passwords), given_database
        else:
            access, admin_url = services.provision(), services.admin_url
        for name in list(os.environ):
            if name.startswith(("DATABASE_", "REDIS_")):
                del os.environ[name]
        os.environ.update(services.secrets.server_environment())
        os.environ.update(
            DATABASE_URL=access.runtime_url,
            DATABASE_OWNER_URL=access.owner_url,
            DATABASE_ADMIN_URL=admin_url,
            HF_HUB_OFFLINE="1",
            VLLM_NO_USAGE_STATS="1",
            DO_NOT_TRACK="1",
        )
    os.environ["REDIS_URL"] = _with_number(given_redis) if given_redis else services.redis_url
    os.environ["ATRIUM_HOME"] = str(services.home.path)
    os.environ[_SHARED] = "1"


def _with_number(url: str) -> str:
    """A database number of its own for every process of a parallel run."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw-1")
    number = int(worker.removeprefix("gw")) + 1
    if url.startswith("unix://"):
        return f"{url.partition('?')[0]}?db={number}"
    scheme, _separator, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{number}"
