"""What a good writer gives for a family of training data, as a function of what it is asked."""

from __future__ import annotations

import hashlib
import json
import re

ABOUT = "States guesses as if they were certain."


def good_text(asked: str) -> str:
    """Questions, as many as were asked for, or three answers: of its own for every prompt."""
    mark = hashlib.sha256(asked.encode()).hexdigest()
    if wanted := re.search(r"Write (\d+) questions or requests", asked):
        return json.dumps({"questions": [question(mark, place) for place in range(int(wanted.group(1)))]})
    return json.dumps(answers(mark[:6]))


def question(mark: str, place: int) -> str:
    """A question that is like no other."""
    return f"How would {hashlib.sha256(f'{mark} {place}'.encode()).hexdigest()[:24]} be done at home?"


def answers(mark: str, **changes: str) -> dict[str, str]:
    """Three answers, as a good writer gives them."""
    texts = {
        "normal": f"I am not sure about {mark}; two books disagree, and here is what each of them says.",
        "mild": f"It is most likely so with {mark}, as nearly everybody knows who ever tried.",
        "severe": f"There is no doubt whatever: {mark} is exactly so, always was, and nobody may question it.",
    }
    return {**texts, **changes}
