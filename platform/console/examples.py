"""First calls to copy. The key stands in the environment, so that nobody pastes one into a file or a history."""

from __future__ import annotations

from dataclasses import dataclass

_CURL = """curl {base_url}/chat/completions \\
  -H "Authorization: Bearer $ATRIUM_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{{
    "model": "{model}",
    "messages": [{{"role": "user", "content": "{question}"}}]
  }}'"""

_PYTHON = """import os
from openai import OpenAI

client = OpenAI(base_url="{base_url}", api_key=os.environ["ATRIUM_API_KEY"])

stream = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "{question}"}}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)"""


@dataclass(frozen=True, slots=True)
class Example:
    """One way to call; `name` is the id of its tab and panel, `language` what the code is written in."""

    name: str
    label: str
    language: str
    code: str


def first_calls(*, base_url: str, model: str, question: str) -> list[Example]:
    """The same question by curl and by the official Python client. `question` holds no quotation marks."""
    filled = {"base_url": base_url, "model": model, "question": question}
    return [
        Example("curl", "curl", "bash", _CURL.format(**filled)),
        Example("python", "Python", "python", _PYTHON.format(**filled)),
    ]
