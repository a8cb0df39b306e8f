"""One platform for all tests of this folder, with real vLLM engines; it is hurt on purpose, and recovers."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.stack.platform_process import Platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The demo platform: two tenants, a chat and an embedding model on vLLM."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (ENGINE=none)")
    running = Platform(tmp_path_factory.mktemp("platform") / "home")
    running.start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> None:
    """Each test begins with both models serving, whatever the one before has killed."""
    if "platform" not in request.fixturenames:
        return
    platform: Platform = request.getfixturevalue("platform")
    client = platform.client("acme", max_retries=0, timeout=30)
    platform.wait_for(
        lambda: client.chat.completions.create(
            model="atrium-starter", messages=[{"role": "user", "content": "hi"}], max_tokens=1
        ),
        120,
        "a chat is answered",
    )
