"""Speed and memory of numbaloss: asv suites (bench_*.py) and comparisons (peers)."""
