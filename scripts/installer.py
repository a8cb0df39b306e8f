"""Make `.venv` hold exactly what the locks name; called by bootstrap.py, standard library only.

A stamp in the virtual environment names the locks that it satisfies, so that later starts end here at once. A
mark lies beside it while packages are being written: an environment that still has the mark was cut off in the
middle and is made anew (what uv downloaded stays in its cache). Failures end in one sentence (sentences.py).
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import assets
from sentences import say

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "atrium-installed.json"
UNFINISHED = VENV / "atrium-unfinished"
CORE, DEV, TORCH_CPU = "requirements.txt", "requirements-dev.txt", "requirements-torch-cpu.txt"
ENGINE_LOCKS = {
    "none": [],
    "cpu": [TORCH_CPU, "requirements-engine-cpu.txt"],
    "cuda": ["requirements-engine-cuda.txt"],
}
# Free disk that an installation needs, in GB: measured 0.6, 3.2 and about 14 with the downloads' cache.
NEEDED_GB = {"none": 1.0, "cpu": 6.0, "cuda": 20.0}
# The only place that publishes torch's CPU builds; asked only when the configured indexes have none.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STILL_AFTER_S = 15.0
# Compiling is worth this much and no more; what is left compiles itself at its first import. Tests, and packages
# that no start imports, are left out: they are half of all files.
COMPILE_S = 60.0
NOT_COMPILED = (
    r"/(tests?|anthropic|dns|faker|fastapi_cloud_cli|hypothesis|mcp|mypyc?|numba|pip|playwright|pre_commit"
    r"|prompt_toolkit|sentry_sdk|virtualenv|transformers/models|vllm/model_executor/models|torch/testing)/"
)

_NETWORK = re.compile(
    r"connection refused|could not connect|failed to connect|newconnectionerror|name resolution|dns error|proxyerror"
    r"|tunnel|network is unreachable|error sending request|timed out|timeout|connection reset|certificate",
    re.IGNORECASE,
)
_SPACE = re.compile(r"no space left|os error 28|disk quota exceeded", re.IGNORECASE)
_INDEX = re.compile(
    r"hash mismatch|do not match the hashes|no matching distribution|no solution found|not found in the package reg"
    r"|could not find a version|there is no version|404 |403 |unsatisfiable",
    re.IGNORECASE,
)


class FailureError(Exception):
    """A reason to stop that has a sentence of its own."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.sentence = say(key, **values)


class InterruptedInstallError(BaseException):
    """SIGINT or SIGTERM arrived; not an Exception, so that nothing on the way swallows it."""


class Progress:
    """One line per step with the seconds since the start; a step that takes long says so from time to time."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def line(self, text: str) -> None:
        """Print one line at once."""
        print(f"  {time.monotonic() - self.started:6.1f} s  {text}", flush=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce the step when it is done, and every `STILL_AFTER_S` seconds until then."""
        done = threading.Event()
        began = time.monotonic()

        def remind() -> None:
            while not done.wait(STILL_AFTER_S):
                self.line(say("still", name=name, seconds=time.monotonic() - began))

        threading.Thread(target=remind, daemon=True).start()
        try:
            yield
        finally:
            done.set()
        self.line(name)


class Installer:
    """One installation: which locks, for which engine, with which log."""

    def __init__(self, engine: str, dev: bool, log: Path) -> None:
        self.engine = engine
        self.locks = [CORE, *ENGINE_LOCKS[engine], *([DEV] if dev else [])]
        self.log = log
        self.progress = Progress()
        self.step_name = ""

    # --- what is there already -------------------------------------------------------------------------------
    def wanted(self) -> dict[str, str]:
        """Digest of each lock that must be satisfied."""
        return {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in self.locks}

    def satisfied(self) -> bool:
        """Whether the environment holds all that the locks name, by its stamp; touches nothing, takes 10 ms."""
        stamp = _stamp()
        if UNFINISHED.exists() or not stamp or not os.access(PYTHON, os.X_OK):
            return False
        have = stamp.get("locks", {})
        return stamp.get("root") == str(ROOT) and all(have.get(k) == v for k, v in self.wanted().items())

    # --- the installation ------------------------------------------------------------------------------------
    def install(self) -> None:
        """Bring the environment to the locks. Raises FailureError; leaves nothing that a later run trips over."""
        self._require_disk()
        self.progress.line(say("start", venv=VENV.name, engine=say(f"engine-{self.engine}")))
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        fresh = self._make_venv()
        before = _distributions()
        UNFINISHED.touch()
        try:
            self._install_packages()
        except BaseException:
            if fresh:
                shutil.rmtree(VENV, ignore_errors=True)
            elif _distributions() == before:
                UNFINISHED.unlink(missing_ok=True)
            raise
        stamp = _stamp() or {}
        locks = {**(stamp.get("locks", {}) if not fresh else {}), **self.wanted()}
        temporary = STAMP.with_suffix(".tmp")
        temporary.write_text(json.dumps({"root": str(ROOT), "engine": self.engine, "locks": locks}, indent=1))
        temporary.replace(STAMP)
        UNFINISHED.unlink(missing_ok=True)
        with self._step(
            "bytecode"
        ):  # after the stamp: cut off here, the environment is whole, only slower once
            self._compile()
        with self._step("printing"):  # no failure: only PDFs of invoices need it, and they say so themselves
            self._run([sys.executable, str(ROOT / "scripts" / "printing.py")], 300)
        self.progress.line(say("done", seconds=time.monotonic() - self.progress.started))

    def _require_disk(self) -> None:
        need, free = NEEDED_GB[self.engine], shutil.disk_usage(ROOT).free / 1e9
        if (VENV / "bin").exists() and _stamp():
            need /= 2  # an upgrade replaces packages one by one
        if free < need:
            raise FailureError("disk", need=need, free=free, path=ROOT)

    def _make_venv(self) -> bool:
        """Make the environment unless a whole one stands here; says whether it is new."""
        stamp = _stamp()
        moved = stamp is not None and stamp.get("root") != str(ROOT)
        broken = VENV.exists() and not os.access(PYTHON, os.X_OK)
        if UNFINISHED.exists() or moved or broken:
            shutil.rmtree(VENV, ignore_errors=True)
        if VENV.exists():
            return False
        with self._step("venv"):
            status, output = self._run([sys.executable, "-m", "venv", str(VENV)])
            if status:
                shutil.rmtree(VENV, ignore_errors=True)
                raise self._diagnose(output)
        return True

    def _install_packages(self) -> None:
        with self._step("uv"):
            uv = self._install_uv()
        if TORCH_CPU in self.locks:
            with self._step("torch"):
                self._install_torch(uv)
        rest = [name for name in self.locks if name != TORCH_CPU]
        count = len(
            {pin for name in rest for pin in re.findall(r"^([\w.-]+)==", (ROOT / name).read_text(), re.M)}
        )
        with self._step("packages", count=count):
            self._install_locks(uv, rest)
        folder = _site_packages()
        (folder / "atrium.pth").write_text(f"{ROOT / 'platform'}\n{ROOT}\n")

    def _install_uv(self) -> list[str]:
        """Put the pinned uv into the environment; returns the command to install with (pip's where uv cannot run)."""
        pip = [str(PYTHON), "-m", "pip", "install", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        pip += ["--disable-pip-version-check", "--no-input"]
        pinned = re.search(r"^uv==.*?(?=^\S|\Z)", (ROOT / CORE).read_text(), re.M | re.S)
        assert pinned, f"{CORE} does not name uv"
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as lock:
            lock.write(pinned.group(0))
            lock.flush()
            status, output = self._run([*pip, "--retries", "2", "--timeout", "20", "-r", lock.name])
        if status:
            raise self._diagnose(output)
        uv = VENV / "bin" / "uv"
        if not uv.exists() or self._run([str(uv), "--version"])[0]:
            return pip
        command = [str(uv), "pip", "install", "--python", str(PYTHON), "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", "--no-progress", "--index-strategy", "unsafe-best-match"]
        return command + self._pip_configuration()

    def _pip_configuration(self) -> list[str]:
        """pip's indexes in uv's words: uv does not read pip's configuration, and a mirror is configured there."""
        if any(
            name in os.environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE")
        ):
            return []
        _, output = self._run([str(PYTHON), "-m", "pip", "config", "list"])
        flags = {
            "index-url": "--default-index",
            "extra-index-url": "--extra-index-url",
            "find-links": "--find-links",
            "trusted-host": "--allow-insecure-host",
        }
        arguments: list[str] = []
        for option, value in re.findall(r"^[\w:]+\.([\w-]+)=(.+)$", output, re.M):
            with contextlib.suppress(ValueError, SyntaxError):
                for word in str(ast.literal_eval(value)).split():
                    pair = [flags[option], word] if option in flags else []
                    if pair and word not in arguments:
                        arguments += pair
        return arguments

    def _install_torch(self, command: list[str]) -> None:
        """torch's CPU build: from the configured indexes, else from PyTorch's own."""
        lock = ["-r", str(ROOT / TORCH_CPU)]
        status, output = self._run([*command, *lock])
        if not status:
            return
        if _SPACE.search(output):
            raise self._diagnose(output)
        status, output = self._run([*command, "--extra-index-url", TORCH_CPU_INDEX, *lock])
        if status:
            if _SPACE.search(output):
                raise self._diagnose(output)
            pinned = re.search(r"^torch==(\S+)", (ROOT / TORCH_CPU).read_text(), re.M)
            version = pinned.group(1) if pinned else "?"
            python = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise FailureError("no-torch", version=version, python=python, log=self.log)

    def _install_locks(self, command: list[str], locks: list[str]) -> None:
        arguments = [word for name in locks for word in ("-r", str(ROOT / name))]
        status, output = self._run([*command, *arguments])
        if status and command[0] != str(PYTHON) and not _SPACE.search(output):
            # pip reached the index a moment ago: let it try what uv could not (another TLS store, a proxy's login).
            pip = [
                str(PYTHON),
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--require-hashes",
                "--only-binary",
                ":all:",
            ]
            status, output = self._run([*pip, "--retries", "2", "--timeout", "20", *arguments])
        if status:
            raise self._diagnose(output)

    def _compile(self) -> None:
        """Write bytecode now, on all cores: the first import of the engine would take half a minute longer."""
        code = (
            "import compileall, re, sys;"
            "compileall.compile_dir(sys.argv[1], quiet=2, workers=0, rx=re.compile(sys.argv[2]))"
        )
        self._run([str(PYTHON), "-c", code, str(_site_packages()), NOT_COMPILED], timeout_s=COMPILE_S)

    def build_assets(self) -> None:
        """What the console's pages bring to the browser. Raises FailureError where that cannot be built."""
        with self._step("assets"):
            status, output = self._run([sys.executable, str(ROOT / "scripts" / "assets.py")], 600)
        if status:
            failure = self._diagnose(output)
            raise failure if failure.key in {"space", "network"} else FailureError("no-assets", log=self.log)

    # --- plumbing --------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _step(self, key: str, **values: object) -> Iterator[None]:
        self.step_name = say(key, **values)
        with self.progress.step(self.step_name):
            yield

    def _run(self, command: list[str], timeout_s: float | None = None) -> tuple[int, str]:
        """Run with the output appended to the log; returns the status and the output.

        The child and its children end after the time, and with this process.
        """
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
            try:
                status = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                status = 1
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            text = output.read()
        with contextlib.suppress(OSError), self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{text}\n")
        return status, text

    def _diagnose(self, output: str) -> FailureError:
        """The sentence that fits what pip or uv said."""
        if _SPACE.search(output):
            return FailureError("space", need=NEEDED_GB[self.engine], path=ROOT)
        if _INDEX.search(output) and not re.search(r"connection|proxy|dns error", output, re.IGNORECASE):
            return FailureError("index", log=self.log)
        if _NETWORK.search(output):
            return FailureError("network", log=self.log)
        if _INDEX.search(output):
            return FailureError("index", log=self.log)
        return FailureError("failed", step=self.step_name, log=self.log)


def _die_with_parent() -> None:
    """In the child: SIGKILL when this process dies, so that no half of an installation goes on behind the next."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _stamp() -> dict[str, Any] | None:
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def _site_packages() -> Path:
    return next((VENV / "lib").glob("python3.*/site-packages"))


def _distributions() -> set[str]:
    return {path.name for path in _site_packages().glob("*.dist-info")}


def _settings() -> dict[str, str]:
    """The environment, with `.env` beneath it."""
    values: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in (ROOT / ".env").read_text().splitlines():
            name, separator, value = line.partition("=")
            if separator and not line.lstrip().startswith("#"):
                values[name.removeprefix("export ").strip()] = value.strip().strip("'\"")
    return {**values, **os.environ}


def choose_engine(value: str) -> str:
    """`ENGINE` → none, cpu or cuda; `auto` looks for an NVIDIA GPU."""
    value = value.strip().lower() or "auto"
    if value != "auto":
        if value not in ENGINE_LOCKS:
            raise FailureError("bad-engine", value=value)
        return value
    if Path("/dev/nvidia0").exists():
        return "cuda"
    if shutil.which("nvidia-smi"):
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if listing.returncode == 0 and "GPU" in listing.stdout:
            return "cuda"
    return "cpu"


def require_port(settings: dict[str, str], home: Path) -> None:
    """Refuse a taken port before minutes of installing, unless the platform that holds it is this very home's."""
    value = settings.get("PORT") or "8000"
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise FailureError("bad-port", value=value)
    with contextlib.suppress(OSError), (home / "run" / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # the launcher will say that it is running already
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.get("HOST") or "127.0.0.1", int(value)))
        except OSError:
            raise FailureError(
                "port", port=value, other=int(value) + 1 if int(value) < 65535 else 8000
            ) from None


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Hold the installation's lock, waiting for another installation in this folder."""
    path = ROOT / ".venv.lock"
    try:
        handle = path.open("w")
    except OSError:
        raise FailureError("write", path=ROOT) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"  {say('waiting')}", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _interrupt(*_: object) -> None:
    raise InterruptedInstallError


def main(arguments: list[str]) -> int:
    """Install what is missing. `--dev` adds the tools of `make test`, `--port` refuses a taken port first."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = _settings()
        home = Path(settings.get("ATRIUM_HOME") or ROOT / ".atrium").expanduser().absolute()
        engine = choose_engine(settings.get("ENGINE", ""))
        if "--port" in arguments:
            require_port(settings, home)
        with only_one():
            installer = Installer(engine, "--dev" in arguments, home / "logs" / "install.log")
            if not installer.satisfied():
                installer.install()
            if not assets.is_built():
                installer.build_assets()
        return 0
    except FailureError as failure:
        print(failure.sentence, file=sys.stderr)
    except InterruptedInstallError:
        print(say("interrupted"), file=sys.stderr)
    except PermissionError as error:
        print(say("write", path=error.filename or ROOT), file=sys.stderr)
    except OSError as error:
        if error.errno != 28:
            raise
        print(say("space", need=NEEDED_GB["cpu"], path=ROOT), file=sys.stderr)
    return 1
