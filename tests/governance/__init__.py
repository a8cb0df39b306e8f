"""Tests of data governance."""
