"""What must never reach a log line, and what must stay readable."""

from __future__ import annotations

import pytest

from observability.redaction import MASK, redact, redact_text

SECRET = "atr-abcdefgh-" + "Zx9_-" * 8 + "Qwe" + "a1b2c3"


@pytest.mark.parametrize(
    "text",
    [
        f"key {SECRET} was refused",
        f"Authorization: Bearer {SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f"headers=[(b'authorization', b'Bearer {SECRET}')]",
        f"GET /v1/models?api_key={SECRET}",
        f"{SECRET}{SECRET}",
        f"https://user:{SECRET}@example.com/",
        SECRET.upper().replace("ATR-", "atr-"),
    ],
)
def test_a_key_of_ours_never_survives(text):
    told = redact_text(text)
    assert SECRET[14:] not in told
    assert "Zx9" not in told
    assert "ZX9" not in told
    assert MASK in told
    assert redact_text(told) == told


def test_support_can_still_tell_which_key_it_was():
    assert redact_text(f"key {SECRET}") == f"key atr-abcdefgh-{MASK}"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcj"),
        ("authorization=abcdef0123456789", "abcdef"),
        ("sent Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "eyJ"),
        ("api_key: sk-proj-0123456789abcdef", "0123456789"),
        ("hf_abcdefghijklmnop is the token", "abcdefgh"),
        ("password='hunter22'", "hunter22"),
        ("connection to postgresql://atrium:hunter22@db/atrium failed", "hunter22"),
        ('{"model": "x", "messages": [{"role": "user", "content": "my diagnosis"}]}', "diagnosis"),
        ("{'prompt': 'my diagnosis'}", "diagnosis"),
        ("Field required [type=missing, input_value={'x': 'my diagnosis'}, input_type=dict]", "diagnosis"),
        ("Failing row contains (1, my diagnosis).", "diagnosis"),
        ("Key (email)=(alice@acme.example) already exists.", "alice"),
    ],
)
def test_credentials_and_content_never_survive(text, hidden):
    told = redact_text(text)
    assert hidden not in told
    assert redact_text(told) == told


@pytest.mark.parametrize(
    "text",
    [
        "prompt_tokens=12 completion_tokens=4",
        "the prompt was too long",
        "POST /api/v1/keys/ took 12 ms",
        "basic setup done",
        "no such model: atrium-starter",
        "input shape (3, 4)",
    ],
)
def test_ordinary_sentences_stay_as_they_are(text):
    assert redact_text(text) == text


def test_fields_are_masked_by_name_at_any_depth():
    told = redact(
        {
            "headers": {"Authorization": "x", "X-Api-Key": "y", "accept": "json"},
            "usage": {"prompt_tokens": 3},
            "items": [{"messages": ["secret words"]}, {"webhook_secret": "z"}],
            "raw": b"my diagnosis",
            "password": "",
        }
    )
    assert told == {
        "headers": {"Authorization": MASK, "X-Api-Key": MASK, "accept": "json"},
        "usage": {"prompt_tokens": 3},
        "items": [{"messages": MASK}, {"webhook_secret": MASK}],
        "raw": "<12 bytes>",
        "password": "",
    }


def test_a_value_that_cannot_be_shown_costs_no_line():
    class Broken:
        def __str__(self):
            raise RuntimeError("no")

    endless: list = []
    endless.append(endless)
    assert redact(Broken()) == "<Broken>"
    assert "…" in str(redact(endless))


def test_a_long_text_is_cut():
    assert len(redact_text("x" * 100_000)) < 5_000
