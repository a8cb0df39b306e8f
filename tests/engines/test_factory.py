"""Which engine stands behind a deployment, and that the registry lets nothing through that an engine refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest

from inference.worker.engines.factory import create_engine
from inference.worker.engines.remote import RemoteEngine
from inference.worker.engines.simulated import SimulatedEngine
from inference.worker.engines.vllm.engine import VllmEngine
from models_registry.engine_arguments import ARGUMENTS, Argument
from models_registry.specs import EngineSpec
from tests.engines.asking import answer, ask, error_of


def spec(engine: str, **fields: Any) -> EngineSpec:
    """What the registry says of a deployment."""
    values = {"task": "chat", **fields}
    return EngineSpec(
        deployment_id=uuid4(),
        tenant_id=None,
        version_id=uuid4(),
        name="d",
        engine=engine,
        served_name="m",
        **values,
    )


REMOTE = {"remote_base_url": "https://models.example/v1", "remote_model": "m"}


def test_each_kind_has_its_engine(settings: Any) -> None:
    settings.ALLOW_SIMULATED_ENGINE = True
    assert isinstance(create_engine(spec("simulated", args={"capacity": 7})), SimulatedEngine)
    assert isinstance(create_engine(spec("openai", **REMOTE), credential="sk-x"), RemoteEngine)
    assert isinstance(create_engine(spec("vllm", path="/models/m")), VllmEngine)
    with pytest.raises(ValueError, match="no engine"):
        create_engine(spec("triton"))


def test_the_simulated_engine_answers_nobody_unless_allowed(settings: Any) -> None:
    settings.ALLOW_SIMULATED_ENGINE = False
    with pytest.raises(ValueError, match="ATRIUM_ALLOW_SIMULATED_ENGINE"):
        create_engine(spec("simulated"))


async def test_the_context_length_of_the_version_holds(settings: Any) -> None:
    settings.ALLOW_SIMULATED_ENGINE = True
    engine = create_engine(spec("simulated", context_length=50))
    await engine.start()
    got = await answer(engine, ask("completion", prompt=list(range(60))))
    assert error_of(got.failure)["code"] == "context_length_exceeded"
    await engine.close()


async def test_a_remote_engine_reaches_the_networks_of_the_settings_and_no_other(
    settings: Any,
) -> None:
    fields = {**REMOTE, "remote_base_url": "http://127.0.0.1:1/v1"}
    settings.REMOTE_ENGINE_NETWORKS = []
    with pytest.raises(RuntimeError, match="ATRIUM_REMOTE_ENGINE_NETWORKS"):
        await create_engine(spec("openai", **fields)).start()
    settings.REMOTE_ENGINE_NETWORKS = ["127.0.0.0/8"]
    with pytest.raises(RuntimeError, match="cannot be reached"):
        await create_engine(spec("openai", **fields)).start()


def _samples(argument: Argument) -> list[Any]:
    """The outermost values that the registry takes."""
    if argument.type is bool:
        return [True, False]
    if argument.choices:
        return list(argument.choices)
    if argument.type is str:
        return ["x" * int(argument.minimum), "x" * int(argument.maximum)]
    return [argument.type(argument.minimum), argument.type(argument.maximum)]


@pytest.mark.parametrize("engine", ["openai", "simulated"])
def test_what_the_registry_takes_the_engine_takes_too(settings: Any, engine: str) -> None:
    settings.ALLOW_SIMULATED_ENGINE = True
    fields = REMOTE if engine == "openai" else {}
    for name, argument in ARGUMENTS[engine].items():
        for value in _samples(argument):
            create_engine(spec(engine, args={name: value}, **fields))


@pytest.mark.slow
def test_the_engines_of_others_load_no_vllm() -> None:
    """A worker without vLLM hosts the other engines."""
    program = (
        "import sys; import inference.worker.engines.factory, inference.worker.engines.remote, "
        "inference.worker.engines.simulated; sys.exit('torch' in sys.modules or 'vllm' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
