"""Machine code on disk: where it lies, what its files hold, who may have written them."""
