"""Keyed hashes and encryption: one derived key per purpose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from core.encryption import decrypt, encrypt, keyed_digest


@given(st.text(max_size=200))
def test_what_is_encrypted_can_be_read_again(plain: str) -> None:
    cipher = encrypt("test", plain)
    assert decrypt("test", cipher) == plain
    assert len(plain) < 8 or plain not in cipher


def test_a_text_of_one_purpose_cannot_be_read_for_another() -> None:
    with pytest.raises(ValueError, match="cannot be decrypted"):
        decrypt("other", encrypt("test", "secret"))


def test_an_older_key_still_reads_and_the_newest_writes(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = ["old key " * 5]
    cipher = encrypt("test", "secret")
    settings.ENCRYPTION_KEYS = ["new key " * 5, "old key " * 5]
    assert decrypt("test", cipher) == "secret"
    fresh = encrypt("test", "secret")
    settings.ENCRYPTION_KEYS = ["old key " * 5]
    with pytest.raises(ValueError, match="cannot be decrypted"):
        decrypt("test", fresh)


@pytest.mark.parametrize("broken", ["", "x", "gAAAA", "é"])
def test_what_is_no_cipher_is_refused(broken: str) -> None:
    with pytest.raises(ValueError, match="cannot be decrypted"):
        decrypt("test", broken)


def test_a_digest_depends_on_pepper_purpose_and_value(settings: Settings) -> None:
    digest = keyed_digest("a", "value")
    assert len(digest) == 64
    assert digest == keyed_digest("a", "value")
    assert len({digest, keyed_digest("b", "value"), keyed_digest("a", "valuf")}) == 3
    settings.KEY_PEPPER = "another pepper"
    assert keyed_digest("a", "value") != digest
