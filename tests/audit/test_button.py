"""The button of the console that verifies the trail."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from tests.audit.conftest import Trail

URL = reverse("tenant:audit-verify")
HTMX = {"HX-Request": "true"}


def test_it_says_that_the_trail_is_whole_and_up_to_where(alice_client: Client, trail: Trail) -> None:
    trail.grow(3)
    report = alice_client.post(URL, headers=HTMX).content.decode()
    assert "The trail is whole" in report
    assert "<html" not in report
    assert "<html" in alice_client.post(URL).content.decode(), "without scripts it is a page"


def test_what_was_rewritten_is_named(alice_client: Client, trail: Trail) -> None:
    trail.grow(3)
    trail.attack(
        "UPDATE audit_auditevent SET actor_label = 'mallory' WHERE id = %(event)s", event=trail.event_of(2)
    )
    report = alice_client.post(URL, headers=HTMX).content.decode()
    assert "The trail was tampered with" in report
    assert report.count('<span class="badge bad">') == 1
    assert str(trail.verify().report.last_good_sequence) in report
