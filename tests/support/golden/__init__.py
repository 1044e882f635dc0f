"""Published numbers."""
