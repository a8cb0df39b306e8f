"""The OS user that PostgreSQL runs as when the platform is started by root: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import StartError
from launcher.progress import _

# Ours first; then users that systems keep for this very purpose.
NAMES = ("atrium-pg", "postgres", "pgserver", "nobody")


@dataclass(frozen=True)
class Account:
    """An unprivileged OS user."""

    name: str
    uid: int
    gid: int


def database_account() -> Account | None:
    """The user for PostgreSQL, made when there is none; None when we are not root and it can run as ourselves.

    Only the last choice is shared with other programs (`nobody`), on systems where no user can be made.
    """
    if os.geteuid() != 0:
        return None
    if account := _lookup(NAMES[0]):
        return account
    useradd = shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")
    if useradd:
        command = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        command += [
            "--shell",
            shutil.which("nologin", path="/usr/sbin:/sbin:/usr/bin") or "/bin/false",
            NAMES[0],
        ]
        subprocess.run(command, capture_output=True, check=False)
    for name in NAMES:
        if account := _lookup(name):
            return account
    raise StartError(
        _(
            "PostgreSQL does not run as root and no other user can be made here: start Atrium as an ordinary user, "
            "or give it a server of your own with DATABASE_URL."
        )
    )


def can_enter(folder: Path, account: Account) -> bool:
    """Whether the account may pass through every folder down to this one, by mode bits (ACLs are not looked at)."""
    for part in (folder, *folder.parents):
        try:
            status = part.stat()
        except OSError:
            continue  # not there yet: it will be made with a mode that lets the account in
        if status.st_uid == account.uid:
            allowed = status.st_mode & 0o100
        elif status.st_gid == account.gid:
            allowed = status.st_mode & 0o010
        else:
            allowed = status.st_mode & 0o001
        if not allowed:
            return False
    return True


def _lookup(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid) if entry.pw_uid else None
