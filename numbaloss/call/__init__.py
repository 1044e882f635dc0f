"""How a call goes: arguments, and results."""
