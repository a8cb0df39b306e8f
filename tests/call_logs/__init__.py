"""Tests of call logs."""
