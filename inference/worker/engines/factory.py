"""Which engine stands behind a deployment."""

from __future__ import annotations

from django.conf import settings

from inference.worker.port import Engine
from models_registry.specs import EngineSpec


def create_engine(spec: EngineSpec, *, credential: str = "") -> Engine:
    """The engine that `spec` asks for, not started. Costs nothing but imports; vLLM's are seconds.

    `credential` is for a server elsewhere; it is no part of the spec, so that a spec may be logged and sent.
    Raises ValueError, with a sentence for the operator, when the specification makes no sense.
    """
    if spec.engine == "simulated":
        return _simulated(spec)
    if spec.engine == "openai":
        from inference.worker.engines.remote import RemoteEngine

        return RemoteEngine(
            spec.remote_base_url,
            spec.remote_model,
            credential,
            spec.args,
            networks=settings.REMOTE_ENGINE_NETWORKS,
        )
    if spec.engine == "vllm":
        # Imported here alone: workers of other engines have no vLLM installed.
        from inference.worker.engines.vllm.engine import VllmEngine

        arguments = dict(spec.args)
        if spec.task == "embedding":
            arguments.setdefault("runner", "pooling")
        return VllmEngine(spec.path, arguments)
    raise ValueError(f"There is no engine of the kind {spec.engine!r}.")


def _simulated(spec: EngineSpec) -> Engine:
    from inference.worker.engines.simulated import SimulatedEngine

    # The registry refuses it as well; a row that came into the database otherwise must not answer tenants
    # either.
    if not settings.ALLOW_SIMULATED_ENGINE:
        raise ValueError("The simulated engine is switched off here (ATRIUM_ALLOW_SIMULATED_ENGINE).")
    arguments = dict(spec.args)
    if spec.context_length:
        arguments.setdefault("context_length", spec.context_length)
    return SimulatedEngine(arguments)
