"""A command: ``personascope count-words TEXT``."""

from __future__ import annotations


def count_words(text: str) -> None:
    """Count the words of a text."""
    print(len(text.split()))
