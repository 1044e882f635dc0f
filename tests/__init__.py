"""Tests of the library; what they share is in :mod:`tests.support`."""
