"""What is wrong with a trait, before any model is asked.

Owns: :func:`check_trait` and :func:`check_table`. The one law: an error is something that would make results mean
another thing or that no run would accept, and everything else is a warning; a trait without errors loads. A rule looks
at what it needs and passes over what is not there; a form nobody described has no rules of its own.

Sources: "Persona Vectors" A.1 for the counts, the fields of a rubric and the questions; tracing study §1.2 for the
forms.
"""

from __future__ import annotations

import dataclasses
import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from personascope.authoring.wording import names, near_duplicates, normal
from personascope.core.errors import TraitError
from personascope.core.files import read_toml
from personascope.core.traits import Trait, load_trait, trait_file

Severity = Literal["error", "warning"]
SETS = ("extraction", "selection", "evaluation")


@dataclass(frozen=True)
class Finding:
    """One thing to mend (``"error"``) or to look at (``"warning"``): which rule, where in the trait, and what is so."""

    severity: Severity
    rule: str
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(frozen=True)
class Parts:
    """The texts of a trait, each list as long as it is in the file."""

    name: str
    form: str
    strands: int
    contrasts: tuple[tuple[str, str], ...]
    questions: Mapping[str, tuple[str, ...]]
    rubrics: Mapping[str, tuple[str, str]]  # name -> text, kind

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Parts:
        contrasts = [each for each in _list(table.get("contrasts")) if isinstance(each, Mapping)]
        rubrics = {name: table[name] for name in ("rubric", "coherence") if isinstance(table.get(name), Mapping)}
        strands = table.get("strands", 1)
        return cls(
            _text(table.get("name")),
            _text(table.get("form")),
            strands if isinstance(strands, int) and strands > 0 else 1,
            tuple((_text(each.get("positive")), _text(each.get("negative"))) for each in contrasts),
            {which: tuple(map(_text, _list(table.get(f"{which}_questions")))) for which in SETS},
            {name: (_text(each.get("text")), _text(each.get("kind", "score"))) for name, each in rubrics.items()},
        )

    def asked(self) -> Iterator[tuple[str, str]]:
        """Every question with its place, as people count: ``evaluation 3``."""
        for which, questions in self.questions.items():
            for number, question in enumerate(questions, 1):
                yield f"{which} {number}", question

    def poles(self) -> Iterator[tuple[str, str]]:
        for number, (positive, negative) in enumerate(self.contrasts, 1):
            yield f"contrast {number} positive", positive
            yield f"contrast {number} negative", negative


Rule = Callable[[Parts], Iterator[Finding]]


def short(text: str, *, end: bool = False, width: int = 60) -> str:
    """A text on one line, cut to a width from its start or its end."""
    line = " ".join(text.split())
    if len(line) > width:
        line = f"…{line[-width:]}" if end else f"{line[:width]}…"
    return f"'{line}'"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


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


def check_trait(trait: Trait | str | Path, *, form: str = "assistant") -> list[Finding]:
    """What is wrong with a trait: of a file everything, even where it would not load; errors first.

    Raises:
        TraitError: if there is no such trait or file, or it is not TOML.

    Example:
        >>> check_trait("evil", form="character")
        []
    """
    if isinstance(trait, Trait):
        return check_table(dataclasses.asdict(trait))
    path = trait_file(trait, form=form)
    found = check_table(read_toml(path, error=TraitError))
    try:
        load_trait(path)
    except TraitError as problem:
        # What no rule found word for word, such as an unknown key.
        if not any(each.severity == "error" for each in found):
            found = [Finding("error", "loads", "file", str(problem).removeprefix(f"{path}: ")), *found]
    return found


def check_table(table: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a trait as a table, such as a file holds; errors first."""
    parts = Parts.of(table)
    found = [each for rule in (*RULES, *RULES_OF_FORM.get(parts.form, ())) for each in rule(parts)]
    return sorted(found, key=lambda each: each.severity != "error")
