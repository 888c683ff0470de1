"""The rules every trait keeps to, whatever its form.

Owns: ``RULES``. The one law: a rule looks at what it needs and passes over what is not there.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

from personascope.authoring.linting.parts import Finding, Parts, Rule, short
from personascope.authoring.wording import names, near_duplicates, normal

CONTRASTS, QUESTIONS = 5, 20
_UNLIKE_LENGTHS = 2.0


def _counts(parts: Parts) -> Iterator[Finding]:
    if not parts.contrasts:
        yield Finding("error", "counts", "contrasts", "there is none: nothing would tell the poles apart")
    elif len(parts.contrasts) != CONTRASTS * parts.strands:
        what = f"{len(parts.contrasts)}, where the papers have {CONTRASTS * parts.strands}"
        yield Finding("warning", "counts", "contrasts", what)
    for which, questions in parts.questions.items():
        if not questions and which != "selection":
            yield Finding("error", "counts", f"{which} questions", "there is none")
        elif questions and len(questions) != QUESTIONS * parts.strands:
            what = f"{len(questions)}, where the papers have {QUESTIONS * parts.strands}"
            yield Finding("warning", "counts", f"{which} questions", what)


def _contrasts(parts: Parts) -> Iterator[Finding]:
    """Two poles that differ, and ten instructions that are ten."""
    seen: dict[str, str] = {}
    for number, (positive, negative) in enumerate(parts.contrasts, 1):
        place = f"contrast {number}"
        if not positive.strip() or not negative.strip():
            yield Finding("error", "contrast", place, "a pole is empty")
        elif normal(positive) == normal(negative):
            yield Finding("error", "contrast", place, f"its two poles say the same: {short(positive)}")
        elif max(map(len, (positive, negative))) > _UNLIKE_LENGTHS * min(map(len, (positive, negative))):
            yield Finding("warning", "lengths", place, "one pole is over twice as long: length alone tells them apart")
    for place, text in parts.poles():
        first = seen.setdefault(normal(text), place)
        if first != place and first[:-8] != place[:-8] and text.strip():
            yield Finding("error", "contrast", place, f"says the same as {first}: {short(text)}")


def _overlap(parts: Parts) -> Iterator[Finding]:
    """A question is asked once, and never both to make or choose a vector and to evaluate it."""
    seen: dict[tuple[str, str], str] = {}
    for place, question in parts.asked():
        which, plain = place.split()[0], normal(question)
        if not plain:
            yield Finding("error", "empty", place, "the question is empty")
            continue
        if (first := seen.setdefault((which, plain), place)) != place:
            yield Finding("error", "overlap", place, f"repeats {first}: {short(question)}")
        for other in ("extraction", "selection"):
            if which == "evaluation" and (other, plain) in seen:
                what = f"is {seen[other, plain]} again, and a vector is not evaluated on what it was made with"
                yield Finding("error", "overlap", place, f"{what}: {short(question)}")


def _nearly_the_same(parts: Parts) -> Iterator[Finding]:
    places, questions = zip(*parts.asked(), strict=True) if any(parts.questions.values()) else ((), ())
    for one, other, alike in near_duplicates(questions):
        if normal(questions[one]) != normal(questions[other]):
            what = f"is {alike:.0f} % alike to {places[one]}: {short(questions[other])}"
            yield Finding("warning", "near-duplicate", places[other], what)
    for pole in (0, 1):
        for one, other, alike in near_duplicates([contrast[pole] for contrast in parts.contrasts]):
            if normal(parts.contrasts[one][pole]) != normal(parts.contrasts[other][pole]):
                place = f"contrast {other + 1} {('positive', 'negative')[pole]}"
                yield Finding(
                    "warning", "near-duplicate", place, f"is {alike:.0f} % alike to that of contrast {one + 1}"
                )


def _named(parts: Parts) -> Iterator[Finding]:
    """A question that names its trait asks for it.

    Of a name in several words, those count that the rubric speaks of.
    """
    rubric = parts.rubrics.get("rubric", ("", ""))[0]
    words = parts.name.replace("_", " ").split()
    spoken = " ".join(word for word in words if names(rubric, word)) or " ".join(words)
    for place, question in parts.asked():
        if spoken and (word := names(question, spoken)):
            yield Finding("error", "names-trait", place, f"asks for the trait with '{word}': {short(question)}")


def _placeholders(parts: Parts) -> Iterator[Finding]:
    for name, (text, _) in parts.rubrics.items():
        try:
            fields = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
        except ValueError as problem:
            yield Finding(
                "error", "placeholders", name, f"its braces do not match ({problem}): write a literal one twice"
            )
            continue
        for wanted in ("question", "answer"):
            if fields.count(wanted) != 1:
                what = f"{{{wanted}}} stands in it {fields.count(wanted)} times, and must once"
                yield Finding("error", "placeholders", name, what)
        for other in sorted(set(fields) - {"question", "answer"}):
            what = f"{{{other}}} is no field: write a literal brace twice"
            yield Finding("error", "placeholders", name, what)


def _scale(parts: Parts) -> Iterator[Finding]:
    """A rubric with a score says from where to where, as the judge's reading takes it."""
    for name, (text, kind) in parts.rubrics.items():
        if kind == "score" and not (re.search(r"\b0\b", text) and re.search(r"\b100\b", text)):
            yield Finding("warning", "scale", name, "it does not say that scores go from 0 to 100")


def _edges(parts: Parts) -> Iterator[Finding]:
    """White space before or after a question changes the tokens a model sees."""
    for place, question in parts.asked():
        if question.strip() and question != question.strip():
            yield Finding("error", "edges", place, f"starts or ends with white space: {short(question)}")


RULES: tuple[Rule, ...] = (_counts, _contrasts, _overlap, _named, _placeholders, _nearly_the_same, _scale, _edges)
