"""Which processes make up the platform, with which commands and which environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from launcher.access import Access
from launcher.processes import Spec
from launcher.settings import ROOT, Settings

JOBS_NICENESS = 5
# Never handed to a server, whatever the surroundings hold.
_PREPARE_ONLY = ("DATABASE_OWNER_URL",)


def server_environment(
    settings: Settings, access: Access, redis_url: str, secrets: Mapping[str, str]
) -> dict[str, str]:
    """The environment of every server process: ours, over that of the person who starts the platform."""
    inherited = {name: value for name, value in os.environ.items() if name not in _PREPARE_ONLY}
    scripts = str(Path(sys.executable).parent)
    environment = {
        **inherited,
        **secrets,
        "ATRIUM_HOME": str(settings.home),
        "ATRIUM_NODE": settings.node,
        "ATRIUM_ENGINE": settings.engine,
        "DATABASE_URL": access.runtime_url,
        "REDIS_URL": redis_url,
        "HOST": settings.host,
        "PORT": str(settings.port),
        # The engine looks for build tools beside its own interpreter.
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]),
        "PYTHONUNBUFFERED": "1",
    }
    environment.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    # Nothing is fetched and nothing is reported at run time.
    environment.update(HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
    return environment


def engine_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """What the engine worker gets on top."""
    extra = {"TOKENIZERS_PARALLELISM": "false"}
    if settings.engine != "none":
        extra["ATRIUM_PRELOAD_ENGINE"] = "1"
    if settings.engine == "cpu":
        # vLLM compiles a few functions on first use even in eager mode (those behind `logprobs`): half a minute
        # with a C++ compiler, and the death of the engine without one.
        extra["TORCHDYNAMO_DISABLE"] = "1"
        extra["VLLM_CPU_KVCACHE_SPACE"] = environment.get("VLLM_CPU_KVCACHE_SPACE", "1")
    return {**environment, **extra}


def provision_spec(settings: Settings) -> Spec:
    """Wait for PostgreSQL, make roles and database. A process of its own: the driver would stay in ours for good."""
    environment = {**os.environ, "ATRIUM_HOME": str(settings.home)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    return Spec("provision", (sys.executable, "-m", "launcher", "provision"), environment, ROOT)


def prepare_spec(environment: Mapping[str, str], access: Access, output: Path) -> Spec:
    """Migrate as the owner, check, make the demo tenants. The only step that gets the owner's password."""
    return Spec(
        name="prepare",
        command=(sys.executable, "manage.py", "prepare", "--output", str(output)),
        environment={**environment, "DATABASE_OWNER_URL": access.owner_url},
        directory=ROOT,
    )


def engine_spec(settings: Settings, environment: Mapping[str, str]) -> Spec:
    """Hosts the replicas of this node. Started first: importing vLLM takes longer than all the rest."""
    arguments = ["-Q", f"engine.{settings.node}", "--concurrency", "8", "-n", f"engine@{settings.node}"]
    arguments += [
        "-I",
        "inference.worker.tasks",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    ]
    return _worker("engine", arguments, engine_environment(settings, environment))


def server_specs(settings: Settings, environment: Mapping[str, str]) -> list[Spec]:
    """What starts once the database is prepared."""
    count = settings.web_processes
    names = ["web"] if count == 1 else [f"web-{number}" for number in range(1, count + 1)]
    command = (sys.executable, "-m", "config.server")
    web = [Spec(name, command, {**environment, "WEB_PROCESSES": str(count)}, ROOT, phase=1) for name in names]
    arguments = [
        "-Q",
        "jobs",
        "--concurrency",
        "4",
        "-n",
        f"jobs@{settings.node}",
        "--without-gossip",
        "--without-mingle",
    ]
    # Settlement can wait for a millisecond; a client cannot.
    jobs = replace(_worker("jobs", arguments, environment), niceness=JOBS_NICENESS)
    beat_command = (
        sys.executable,
        "-m",
        "celery",
        "-A",
        "config",
        "beat",
        "-S",
        "redbeat.RedBeatScheduler",
        "-l",
        "info",
    )
    beat = Spec("beat", beat_command, environment, ROOT, phase=1)
    return [*web, jobs, beat]


def _worker(name: str, arguments: list[str], environment: Mapping[str, str]) -> Spec:
    command = (
        sys.executable,
        "-m",
        "celery",
        "-A",
        "config",
        "worker",
        "--pool",
        "threads",
        "-l",
        "info",
        *arguments,
    )
    return Spec(name, command, environment, ROOT, phase=2)
