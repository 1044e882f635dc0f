"""``python -m numbaloss``: the command line."""

from .cli import main

# Processes that the command line starts import this module too.
if __name__ == "__main__":
    raise SystemExit(main())
