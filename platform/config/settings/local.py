"""`make run`: one machine, plain http on a port of one's own, everything embedded."""

from __future__ import annotations

from config.settings.base import *  # noqa: F403
from config.settings.base import ALLOWED_HOSTS, env

ALLOWED_HOSTS = ALLOWED_HOSTS or ["localhost", "127.0.0.1", "[::1]"]
ALLOW_SIMULATED_ENGINE = env.bool("ATRIUM_ALLOW_SIMULATED_ENGINE", default=True)
# A local llama.cpp, Ollama or vLLM server is what a person tries first.
REMOTE_ENGINE_NETWORKS = env.list("ATRIUM_REMOTE_ENGINE_NETWORKS", default=["127.0.0.0/8", "::1/128"])
