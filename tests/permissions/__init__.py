"""Tests of who may do what, surface by surface."""
