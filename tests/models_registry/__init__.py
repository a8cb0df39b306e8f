"""Tests of `models_registry`."""
