"""Scheduled work on the audit trail."""

from __future__ import annotations

from celery import shared_task

from audit.services import checkpoints, sealing, verification
from core.locks import alone

# Advisory locks, so that a worker that is killed in the middle keeps nobody out.
SEALING = 0x5365616C  # "Seal"
VERIFYING = 0x41566572  # "AVer"


@shared_task(name="audit.seal")
def seal() -> None:
    """Seal what was written, and sign what was sealed. One at a time, whoever is scheduled twice."""
    with alone(SEALING) as is_alone:
        if is_alone:
            sealing.seal()
            checkpoints.sign_due()
            sealing.watch()


@shared_task(name="audit.verify")
def verify() -> None:
    """Verify all chains; what is wrong is logged as an error."""
    with alone(VERIFYING) as is_alone:
        if is_alone:
            verification.verify_all()
