"""Speed and memory of numbaloss: what asv measures (suites), comparisons (peers, gpu), programs."""
