"""Kernels for GPUs: their PTX, what runs it without a GPU, and what is checked of them on one."""
