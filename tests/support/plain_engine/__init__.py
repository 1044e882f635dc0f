"""An engine in plain Python, slow and short: what an engine has to be, and no more."""
