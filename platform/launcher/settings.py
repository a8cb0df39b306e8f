"""What the person asked for: the environment, with `.env` of the repository beneath it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import StartError
from launcher.progress import _

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("none", "cpu", "cuda")


@dataclass(frozen=True)
class Settings:
    """The launcher's own settings; all others pass through to the servers as they are."""

    home: Path
    host: str
    port: int
    node: str
    engine: str
    web_processes: int
    database_url: str
    database_owner_url: str
    redis_url: str


def read_settings() -> Settings:
    """Read the environment; what `.env` adds is put into it, so that the servers see it as well."""
    load_dotenv(ROOT / ".env")
    env = os.environ.get
    return Settings(
        home=Path(env("ATRIUM_HOME") or ROOT / ".atrium").expanduser().absolute(),
        host=env("HOST") or "127.0.0.1",
        port=_number("PORT", 8000, 1, 65535),
        node=env("ATRIUM_NODE") or os.uname().nodename.split(".")[0] or "local",
        engine=_engine(env("ENGINE") or "auto"),
        web_processes=_number("WEB_PROCESSES", 1, 1, 64),
        database_url=env("DATABASE_URL") or "",
        database_owner_url=env("DATABASE_OWNER_URL") or "",
        redis_url=env("REDIS_URL") or "",
    )


def load_dotenv(path: Path) -> None:
    """Lines `NAME=value` become environment variables unless they are set already; `#` starts a comment line."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        name, separator, value = line.partition("=")
        name = name.strip().removeprefix("export ").strip()
        if separator and name.isidentifier():
            os.environ.setdefault(name, value.strip().strip("'\""))


def _number(name: str, default: int, low: int, high: int) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit() or not low <= int(value) <= high:
        sentence = _("{name}={value} is not valid: use a number from {low} to {high}.")
        raise StartError(sentence.format(name=name, value=value, low=low, high=high))
    return int(value)


def _engine(value: str) -> str:
    """What was installed decides for `auto`: the installer has looked for a GPU already."""
    value = value.strip().lower()
    if value in ENGINES:
        if value != "none" and importlib.util.find_spec("vllm") is None:
            sentence = _("ENGINE={value}, but vLLM is not installed: run make install ENGINE={value}.")
            raise StartError(sentence.format(value=value))
        return value
    if value != "auto":
        raise StartError(_("ENGINE={value} is not known: use auto, cpu, cuda or none.").format(value=value))
    if importlib.util.find_spec("vllm") is None:
        return "none"
    return "cpu" if "+cpu" in importlib.metadata.version("torch") else "cuda"
