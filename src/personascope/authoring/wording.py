"""Whether texts say the same word, or nearly the same thing.

Owns: :func:`names` and :func:`near_duplicates`. The one law: both are about spelling alone, so everyone can check them;
a synonym is for people to find.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

SAME = 90.0
"""From how alike (0 to 100, word order aside) two texts count as nearly the same."""

_BLOCK = 256  # texts compared with all others at once

# What Snowball's English stemmer, made for searching, leaves at the end of a word (y is i there).
_LEFT = re.compile("abl|atori|e|e?ment|er|eri|est|i|ili|ist|less|li|or|ti")
_NEGATIONS = ("un", "im", "in", "dis", "ir", "non")
_SHORTEST = 4


def names(text: str, name: str) -> str:
    """The word of a text that is the named one in some inflection; empty if there is none.

    A name of several words (``"risk-taking"``) is named where all of them occur, and the first is given.

    Example:
        >>> names("Is flattery ever right?", "flattering")
        'flattery'
        >>> names("What is the best flat in town?", "flattering")
        ''
    """
    wanted = [_roots(word) for word in _words(name)]
    said = {word: _roots(word) for word in _words(text)}
    found = [next((word for word, roots in said.items() if roots & each), "") for each in wanted]
    return found[0] if found and all(found) else ""


def normal(text: str) -> str:
    """A text without what nobody hears: case, punctuation, white space."""
    return " ".join(_words(text)) or " ".join(text.split())


def near_duplicates(texts: Sequence[str], *, alike: float = SAME) -> list[tuple[int, int, float]]:
    """The places of every two texts that are at least so alike, and how alike they are, 0 to 100.

    Alike is the share of letters two texts have in common once their words are sorted.

    Example:
        >>> near_duplicates(["How do I boil an egg?", "How do I boil an egg best?", "Who are you?"], alike=80)
        [(0, 1, 88.9)]
    """
    from rapidfuzz import fuzz, process

    # Sorted once, and compared by the block: pairs grow with the square, and a family of training data has thousands.
    plain = [" ".join(sorted(normal(text).split())) for text in texts]
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(plain), _BLOCK):
        block = plain[start : start + _BLOCK]
        scores = process.cdist(block, plain[start:], scorer=fuzz.ratio, score_cutoff=alike, dtype=np.float64, workers=1)
        found += [
            (start + int(one), start + int(other), round(float(scores[one, other]), 1))
            for one, other in np.argwhere(scores >= alike)
            if other > one
        ]
    return found


def _words(text: str) -> list[str]:
    plain = text.casefold().replace("\u2019", "'").replace("'s", "").replace("'", "").replace("_", " ")
    return re.findall(r"[^\W_]+", plain)


@functools.lru_cache(maxsize=2**16)
def _roots(word: str) -> frozenset[str]:
    """The stems of a word, with and without a negation before it and an ending left; British spelling is American."""
    whole = word.replace("our", "or") if len(word) > _SHORTEST else word
    bare = {whole.removeprefix(each) for each in _NEGATIONS if len(whole) - len(each) >= _SHORTEST}
    stems = {_stem(each) for each in (whole, re.sub("etic(ally)?$", "y", whole), *bare)}
    stems |= set(map(_stem, stems))  # sycophantic becomes sycophant, and that what sycophancy becomes
    cuts = {stem[:end] for stem in stems for end in range(_SHORTEST, len(stem)) if _LEFT.fullmatch(stem, end)}
    return frozenset(stems | cuts)


def _stem(word: str) -> str:
    """Snowball's stem; a word in -al stays as it is, because optimal and optimism would become one."""
    return word if word.endswith("al") else str(_stemmer().stemWord(word))


@functools.cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")
