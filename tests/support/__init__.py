"""What tests share: losses, references, published numbers, and stand-ins for a GPU."""
