"""What kernels are told: descriptions of calls, and what their parts leave, field by field."""
