"""Tests of `billing`."""
