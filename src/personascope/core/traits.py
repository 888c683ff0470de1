"""Traits: what is to be found in a model, and how it is asked for and scored.

Owns: :class:`Trait`, :class:`Contrast`, :class:`Rubric`, :class:`Prompt` and :func:`load_trait`. The one law: a trait
is data. No code anywhere knows a trait's name.
"""

from __future__ import annotations

import string
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from personascope.core.errors import TraitError, nearest
from personascope.core.files import bundled, check_name, read_toml, value_of, write_new

Pole = Literal["positive", "negative"]
QuestionSet = Literal["extraction", "selection", "evaluation"]


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: a question, and the instruction (if any) that precedes it.

    A base model sees the instruction, a space, and the question; a chat model sees a system and a user turn
    (tracing study §1.2). The engine renders it, because only the engine knows the tokenizer.
    """

    question: str
    instruction: str | None = None
    earlier: tuple[tuple[str, str], ...] = ()
    """Turns before the question, oldest first: what was asked, and what was answered."""

    @property
    def identity(self) -> dict[str, Any]:
        """Question, instruction and, where there are any, the earlier turns."""
        turns = {"earlier": [list(turn) for turn in self.earlier]} if self.earlier else {}
        return {"question": self.question, "instruction": self.instruction, **turns}


@dataclass(frozen=True)
class Rubric:
    """The text a judge is given, with ``{question}`` and ``{answer}`` in it, and what it answers with.

    ``kind`` is ``"score"`` (0 to 100) or ``"labels"`` (any of ``labels``). Coherence and facets are rubrics too.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    text: str
    kind: Literal["score", "labels"] = "score"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(self.text) if name is not None]
        except ValueError as problem:
            raise TraitError(f"a rubric's braces do not match ({problem}): write a literal brace as {{{{") from None
        if sorted(names) != ["answer", "question"]:
            raise TraitError(
                f"a rubric must hold {{question}} and {{answer}} once each, this one holds {names}: "
                "add what is missing, and write a literal brace as {{ or }}"
            )
        if (self.kind == "labels") != bool(self.labels):
            raise TraitError(f"a rubric of kind '{self.kind}' has labels {self.labels}: only 'labels' has them")

    def filled(self, question: str, answer: str) -> str:
        """The text a judge reads for one answer."""
        return self.text.format(question=question, answer=answer)


@dataclass(frozen=True)
class Contrast:
    """One pair of instructions: one that asks for the trait, and one that asks for its opposite."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    positive: str
    negative: str

    def __post_init__(self) -> None:
        if not self.positive.strip() or not self.negative.strip() or self.positive == self.negative:
            raise TraitError("a contrast needs two different, non-empty instructions: positive and negative")


@dataclass(frozen=True)
class Trait:
    """A character trait: contrasting instructions, disjoint question sets, and the rubrics that score it.

    ``form`` says in which kind of text it is elicited: as an assistant, as a described character, ...
    Source: "Persona Vectors" §2.1 and A.1 (five contrasts, 20 questions to extract with, 20 to evaluate with);
    "Tracing Persona Vectors" §1.2 for the forms.

    A combined trait has several ``strands``, one per form: its contrasts and questions take turns (the first of strand
    1, the first of strand 2, ...), and an extraction question is asked under the contrasts of its own strand alone.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    form: str
    description: str
    contrasts: tuple[Contrast, ...]
    extraction_questions: tuple[str, ...]
    evaluation_questions: tuple[str, ...]
    rubric: Rubric
    coherence: Rubric
    selection_questions: tuple[str, ...] = field(default=())
    strands: int = 1

    def __post_init__(self) -> None:
        check_name(self.name, "trait", TraitError)
        if not 1 <= self.strands <= max(1, len(self.contrasts)):
            raise TraitError(
                f"trait '{self.name}' has {self.strands} strands and {len(self.contrasts)} contrasts: each strand has "
                "contrasts of its own, and there is at least one strand"
            )
        if not self.contrasts or not self.extraction_questions or not self.evaluation_questions:
            raise TraitError(f"trait '{self.name}' needs at least one contrast and one question in each set")
        sets: tuple[QuestionSet, ...] = ("extraction", "selection", "evaluation")
        for name in sets:
            questions = self.questions(name)
            if len(set(questions)) < len(questions) or not all(question.strip() for question in questions):
                raise TraitError(
                    f"trait '{self.name}': its {name} questions repeat one, or one is empty: ask each question once, "
                    "because a repeated one would be counted twice"
                )
        asked = set(self.evaluation_questions)
        for name in sets[:2]:
            if shared := asked.intersection(self.questions(name)):
                raise TraitError(
                    f"trait '{self.name}': question {min(shared)!r} is in both the {name} and the evaluation set: "
                    "a vector must not be evaluated on what it was made or chosen with"
                )

    def questions(self, which: QuestionSet) -> tuple[str, ...]:
        """One of the question sets. A trait without selection questions selects on its extraction questions."""
        if which == "selection":
            return self.selection_questions or self.extraction_questions
        return self.extraction_questions if which == "extraction" else self.evaluation_questions

    def instructed(self, pole: Pole) -> tuple[Prompt, ...]:
        """Every extraction question under every instruction of one pole: question-major, as in both papers.

        In a combined trait, under those of its own strand.
        """
        return tuple(
            Prompt(question, getattr(contrast, pole))
            for place, question in enumerate(self.extraction_questions)
            for contrast in self.contrasts[place % self.strands :: self.strands]
        )

    def limited(self, count: int | None) -> Trait:
        """The same trait with at most ``count`` questions in each set: another trait, with other keys."""
        if count is None:
            return self
        if count < 1:
            raise TraitError(f"a limit of {count} questions leaves none: give 1 or more")
        return replace(
            self,
            extraction_questions=self.extraction_questions[:count],
            evaluation_questions=self.evaluation_questions[:count],
            selection_questions=self.selection_questions[:count],
        )


@dataclass(frozen=True)
class Provenance:
    """How a trait file came to be: annotation, part of the file and of no key.

    ``asked`` is when (UTC), ``prompt`` the name, version and digest of what was asked with, ``tries`` how many drafts
    it took, ``source`` what it was made from, ``seed`` what split its questions, if anything did.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    writer: str
    asked: str
    prompt: str
    tries: int
    source: str
    seed: int | None = None


def load_trait(name: str | Path, *, form: str = "assistant") -> Trait:
    """A bundled trait by name and form, or the trait in a TOML file.

    Raises:
        TraitError: if there is no such trait, or the file does not describe one.

    Example:
        >>> load_trait("evil", form="character").name
        'evil'
    """
    path = trait_file(name, form=form)
    table = read_toml(path, error=TraitError)
    _provenance_of(table.pop("provenance", None), path)
    if "coherence" not in table:
        table["coherence"] = coherence_rubric(str(table.get("form", form)))
    return value_of(table, Trait, source=str(path), error=TraitError)


def trait_file(name: str | Path, *, form: str = "assistant") -> Path:
    """The file of a trait: its own, or the bundled one of a name and form (also ``"form/name"``).

    Raises:
        TraitError: if no such trait is bundled.
    """
    if str(name).endswith(".toml"):
        return Path(name)
    known = bundled("traits")
    wanted = str(name) if str(name) in known else f"{form}/{name}"
    if wanted not in known:
        raise TraitError(f"trait '{wanted}' (form/name) is not bundled; {nearest(wanted, known)}, or a .toml file")
    return known[wanted]


def load_provenance(path: str | Path) -> Provenance | None:
    """Where the trait in a TOML file comes from, or ``None`` if the file does not say."""
    return _provenance_of(read_toml(Path(path), error=TraitError).get("provenance"), Path(path))


def _provenance_of(table: Any, path: Path) -> Provenance | None:
    return None if table is None else value_of(table, Provenance, source=f"{path}: provenance", error=TraitError)


def coherence_rubric(form: str) -> dict[str, str]:
    """The bundled coherence rubric for a form: an answer to a question, or the continuation of a text."""
    table = read_toml(bundled("rubrics")["coherence"], error=TraitError)
    return {"text": table["assistant" if form == "assistant" else "continuation"]}


def save_trait(trait: Trait, path: str | Path, *, provenance: Provenance | None = None) -> None:
    """Writes a trait as one TOML file for people to review, whole or not at all, and never over a file that is there.

    :func:`load_trait` reads the same trait from it. The bundled coherence rubric of a form is left out.

    Raises:
        TraitError: if there is such a file, or the trait holds text that no file does.
    """
    write_new(Path(path), trait_toml(trait, provenance=provenance), error=TraitError)


def trait_toml(trait: Trait, *, provenance: Provenance | None = None) -> str:
    """A trait as the text of its file."""
    import tomlkit  # deferred: reading needs none of it

    document = tomlkit.document()
    for name in ("name", "form", "description"):
        document.add(name, _item(getattr(trait, name)))
    if trait.strands != 1:
        document.add("strands", _item(trait.strands))
    for name in ("extraction_questions", "selection_questions", "evaluation_questions"):
        if getattr(trait, name):
            document.add(tomlkit.nl())
            document.add(name, _item(getattr(trait, name)))
    document.add("rubric", _table(trait.rubric))
    if trait.coherence != Rubric(coherence_rubric(trait.form)["text"]):
        document.add("coherence", _table(trait.coherence))
    contrasts = tomlkit.aot()
    for contrast in trait.contrasts:
        contrasts.append(_table(contrast))
    document.add("contrasts", contrasts)
    if provenance is not None:
        document.add("provenance", _table(provenance))
    return tomlkit.dumps(document)


def _table(value: Rubric | Contrast | Provenance) -> Any:
    """The fields that are not as they are by default, as a table."""
    import tomlkit

    table = tomlkit.table()
    for each in fields(value):
        if getattr(value, each.name) != each.default:
            table.add(each.name, _item(getattr(value, each.name)))
    return table


def _item(value: str | int | tuple[str, ...]) -> Any:
    """A text over several lines where it has some, a list with one text to a line."""
    import tomlkit

    if isinstance(value, tuple):
        array = tomlkit.array()
        for each in value:
            array.add_line(_item(each), indent="  ")
        array.add_line(indent="")
        return array
    if isinstance(value, str) and "\n" in value:
        lines = '"""\n' + tomlkit.string(f"|{value}", multiline=True).as_string().removeprefix('"""|')
        if tomllib.loads(f"text = {lines}")["text"] == value:  # a carriage return would become a newline
            return tomlkit.value(lines)
    return tomlkit.item(value)
