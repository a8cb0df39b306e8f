"""Entry point: `python -m launcher up | services | manage …`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from launcher.errors import StartError
from launcher.home import Home, parse_environment, write_private
from launcher.progress import _
from launcher.settings import ROOT, read_settings

# Crash recovery after a power cut may take PostgreSQL a while.
SERVERS_WITHIN_S = 60.0
USAGE = """\
python -m launcher up                start the platform and keep it running
python -m launcher services          start only PostgreSQL and Valkey; prints their addresses as JSON
python -m launcher manage COMMAND …  a manage.py command in the environment of the running platform"""


def services(arguments: list[str]) -> int:
    """Run the two servers until SIGTERM; `--fast` gives up durability for speed."""
    from launcher.services import Services

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Services(read_settings().home, durable="--fast" not in arguments) as servers:
        access = servers.provision()
        addresses = {
            "DATABASE_URL": access.runtime_url,
            "DATABASE_OWNER_URL": access.owner_url,
            "REDIS_URL": servers.redis_url,
            **servers.secrets.server_environment(),
        }
        print(json.dumps(addresses), flush=True)
        while not stop.wait(0.5):
            if not servers.alive():
                raise StartError(
                    _("A server has ended: see the logs in {path}.").format(path=servers.home.logs)
                )
    return 0


def provision() -> int:
    """A step of `up`: wait for PostgreSQL, make roles and database, leave the URLs in the home."""
    import time
    from dataclasses import asdict

    from launcher import database
    from launcher.access import DATABASE, role_passwords
    from launcher.embedded import Postgres
    from launcher.secrets import Secrets

    settings = read_settings()
    home = Home(settings.home)
    secrets = Secrets(home.secrets)
    passwords = role_passwords(secrets)
    if settings.database_url:
        access = database.external(settings.database_url, settings.database_owner_url, passwords)
    else:
        postgres = Postgres.find(home, secrets)
        deadline = time.monotonic() + SERVERS_WITHIN_S
        while not postgres.answers():
            if time.monotonic() > deadline:
                sentence = _("PostgreSQL does not start: see {log}.")
                raise StartError(sentence.format(log=home.logs / "postgres.log"))
            time.sleep(0.02)
        access = database.provision(postgres.superuser_url, passwords, database=DATABASE)
    write_private(home.access, json.dumps(asdict(access)))
    return 0


def manage(arguments: list[str]) -> int:
    """Become `manage.py` with the environment that the running platform left in its home."""
    home = Home(read_settings().home)
    try:
        lines = home.environment.read_text().splitlines()
    except OSError:
        raise StartError(
            _("Atrium does not run in {path}: start it with make run.").format(path=home.path)
        ) from None
    os.environ.update(parse_environment(lines))
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, str(ROOT / "manage.py"), *arguments])  # noqa: S606


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit status."""
    command, *rest = arguments or [""]
    try:
        if command == "up":
            from launcher.up import up

            return up(read_settings())
        if command == "services":
            return services(rest)
        if command == "provision":
            return provision()
        if command == "manage":
            return manage(rest)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
