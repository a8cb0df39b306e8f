"""Tests of the safety pipeline."""
