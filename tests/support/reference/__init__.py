"""Losses computed a second time, by other means than the library's."""
