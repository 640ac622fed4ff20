"""Text: a language model on Python's documentation, by characters."""
