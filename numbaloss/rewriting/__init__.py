"""Functions of a loss's author: watched for changes, rewritten for one type, and compiled."""
