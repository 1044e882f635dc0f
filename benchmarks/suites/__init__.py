"""What asv measures over the commits of the project."""
