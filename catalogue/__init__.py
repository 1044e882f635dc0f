"""Losses with the parameters and inputs that tests and benchmarks run them with."""
