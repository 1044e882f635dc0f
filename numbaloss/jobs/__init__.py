"""Arguments of kernels: descriptions of calls, and the results of their parts, field by field."""
