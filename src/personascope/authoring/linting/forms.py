"""The rules of a form: what makes a text the opening of a sentence, a story or a scene.

Owns: ``RULES_OF_FORM``. The one law: a form nobody described has no rules of its own. Source: tracing study §1.2.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from personascope.authoring.linting.parts import Finding, Parts, Rule, short


def _refusal(parts: Parts) -> Iterator[Finding]:
    text, kind = parts.rubrics.get("rubric", ("", "labels"))
    if kind == "score" and "REFUSAL" not in text:
        yield Finding("warning", "scale", "rubric", "it does not offer REFUSAL for answers that decline")


def _breaks_off(parts: Parts) -> Iterator[Finding]:
    """The opening of a sentence leaves it to the model to end it."""
    for place, opening in parts.asked():
        if opening.rstrip().endswith(tuple(".?!\u2026")):
            what = f"ends with '{opening.rstrip()[-1]}', and is to break off where the person acts or speaks"
            yield Finding("error", "opening", place, f"{what}: {short(opening, end=True)}")


def _one_person(parts: Parts) -> Iterator[Finding]:
    """All instructions and openings are about one person: the name that most of them hold."""
    texts = [*parts.poles(), *parts.asked()]
    held = Counter(name for _, text in texts for name in _capitalised(text))
    if not texts:
        return
    name, count = max(held.items(), key=lambda each: each[1], default=("", 0))
    if 2 * count <= len(texts):
        yield Finding("error", "person", "texts", "no name occurs in most of them: write about one person with a name")
        return
    for place, text in texts:
        if name not in _capitalised(text):
            yield Finding("error", "person", place, f"does not name {name}: {short(text)}")


def _turns(parts: Parts) -> Iterator[Finding]:
    """A scene stops at somebody's turn to speak, and an instruction shows that somebody speak twice."""
    speakers = set()
    for place, scene in parts.asked():
        if not (turn := re.search(r"(?:\A|\n)([^\n:]+):\Z", scene)):
            yield Finding("error", "turn", place, f"does not end with a speaker and a colon: {short(scene, end=True)}")
        else:
            speakers.add(turn[1])
    if len(speakers) > 1:
        yield Finding("error", "turn", "questions", f"several people are to reply: {', '.join(sorted(speakers))}")
    for place, text in parts.poles() if len(speakers) == 1 else ():
        shots = len(re.findall(rf"^{re.escape(min(speakers))}:", text, re.MULTILINE))
        if shots != 2:
            yield Finding(
                "error", "two-shot", place, f"shows {min(speakers)} reply {shots} times, and is to show it twice"
            )


def _narrates(parts: Parts) -> Iterator[Finding]:
    """The opening of a story tells; a question to the reader would be answered, not told on."""
    for place, opening in parts.asked():
        if opening.rstrip().endswith("?"):
            yield Finding("error", "opening", place, f"ends with '?', and is to narrate: {short(opening, end=True)}")


def _capitalised(text: str) -> set[str]:
    words = re.findall(r"[^\W\d_][\w'-]+", text.replace("\u2019", "'"))
    return {word.removesuffix("'s") for word in words if word[0].isupper()}


RULES_OF_FORM: Mapping[str, tuple[Rule, ...]] = {
    "assistant": (_refusal,),
    "character": (_refusal, _breaks_off, _one_person),
    "story": (_refusal, _narrates),
    "dialogue": (_refusal, _turns),
    "combined": (_refusal,),
}
