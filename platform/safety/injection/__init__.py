"""Prompt injection: detectors in English and Chinese that score whole texts on their way to a model."""

from safety.injection.scoring import Finding, Sign, score

__all__ = ["Finding", "Sign", "score"]
