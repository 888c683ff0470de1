"""The trait files of the published studies.

Owns: reading their JSON into a :class:`Trait`. The one law: what the file says is taken over word for word, and
whatever it cannot say (the coherence rubric, the form) is supplied openly.

Format, in both studies: ``trait_data_extract/NAME.json`` and ``trait_data_eval/NAME.json``, each with
``instruction`` (a list of ``{"pos", "neg"}``; an instruction may be a list of strings, one per line),
``questions`` and ``eval_prompt`` ("Persona Vectors" A.1; tracing study §1.2).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from personascope.core.errors import TraitError, nearest
from personascope.core.files import value_of
from personascope.core.traits import Trait, coherence_rubric

EXTRACT_FOLDERS = ("trait_data_extract",)
EVAL_FOLDERS = ("trait_data_eval", "upstream_trait_data_eval")
ROOTS = ("", "data", "data_generation")


@dataclass(frozen=True)
class _Instruction:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    pos: str | list[str]
    neg: str | list[str]


@dataclass(frozen=True)
class _ExtractFile:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    instruction: list[_Instruction]
    questions: list[str]
    eval_prompt: str


@dataclass(frozen=True)
class _EvalFile:
    """An evaluation file; its instructions are not used, and the study's combined one has none."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    questions: list[str]
    eval_prompt: str
    instruction: list[Any] | None = None


def load_published_trait(
    path_or_folder: str | Path, name: str, *, form: str, address: tuple[str, str] | None = None
) -> Trait:
    """A trait from the published JSON, with the bundled coherence rubric of its form.

    A folder holds ``trait_data_extract`` and ``trait_data_eval``, itself or in its ``data`` or ``data_generation``;
    where the second lacks the trait, ``upstream_trait_data_eval`` is read (the instruct evaluations, tracing study
    §1.2). A single file holds all questions: the first half extracts and the second half evaluates.

    Args:
        path_or_folder: The folder, or one JSON file with all (usually 40) questions.
        name: The trait's name in those files, such as ``"evil_character_neutral_q"``.
        form: The form the trait is written in; it decides between the two coherence rubrics.
        address: What the assistant is called in the positive and in the negative instructions. With
            ``("evil", "helpful")`` they begin "You are an evil assistant." and "You are a helpful assistant."
            ("Persona Vectors" §2.2). ``None`` for traits that address no assistant.

    Raises:
        TraitError: naming the file that is missing, is not JSON, lacks a key, or shares a question with the other.
    """
    extract, asked, tested, source = _files(Path(path_or_folder), name)
    table = {
        "name": name,
        "form": form,
        "description": f"The published trait '{name}'",
        "contrasts": [_contrast(each, address) for each in extract.instruction],
        "extraction_questions": asked,
        "evaluation_questions": tested,
        "rubric": {"text": extract.eval_prompt},
        "coherence": coherence_rubric(form),
    }
    return value_of(table, Trait, source=source, error=TraitError)


def read_trait(path: str | Path, *, form: str) -> Trait:
    """The trait of one published file, whose name is the trait's; of one of a pair of files, that of both.

    Raises:
        TraitError: as :func:`load_published_trait`.
    """
    path = Path(path)
    one_of_two = path.is_file() and path.parent.name in EXTRACT_FOLDERS + EVAL_FOLDERS
    return load_published_trait(path.parents[1] if one_of_two else path, path.stem, form=form)


def _files(where: Path, name: str) -> tuple[_ExtractFile, list[str], list[str], str]:
    """What the extraction file says, the questions to extract with and to evaluate with, and where they were read."""
    if not where.is_dir():
        alone = value_of(_read(where), _ExtractFile, source=str(where), error=TraitError)
        return alone, *_halves(where, alone.questions), str(where)
    extract_path = _find(where, EXTRACT_FOLDERS, name)
    eval_path = _find(where, EVAL_FOLDERS, name)
    extract = value_of(_read(extract_path), _ExtractFile, source=str(extract_path), error=TraitError)
    evaluate = value_of(_read(eval_path), _EvalFile, source=str(eval_path), error=TraitError)
    if extract.eval_prompt != evaluate.eval_prompt:
        raise TraitError(
            f"{eval_path}: its eval_prompt is not the one of {extract_path}: a trait has one rubric, make them the same"
        )
    return extract, extract.questions, evaluate.questions, f"{extract_path} and {eval_path}"


def _find(root: Path, folders: tuple[str, ...], name: str) -> Path:
    places = [root / above / folder for folder in folders for above in ROOTS]
    for place in places:
        if (place / f"{name}.json").is_file():
            return place / f"{name}.json"
    known = {path.stem for place in places for path in place.glob("*.json")}
    if not known:
        raise TraitError(f"{root} holds no {folders[0]}/*.json: give the folder that holds the published trait data")
    raise TraitError(f"{root} holds no {folders[0]}/{name}.json; {nearest(name, known)}")


def _read(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TraitError(f"{path}: no such file or folder; check the path") from None
    except (OSError, ValueError) as problem:
        raise TraitError(f"{path}: not a readable JSON file ({problem}); mend it and run again") from None
    if not isinstance(table, dict):
        raise TraitError(f"{path}: holds a {type(table).__name__}, not an object with instruction and questions")
    return table


def _halves(path: Path, questions: list[str]) -> tuple[list[str], list[str]]:
    if path.parent.name in EXTRACT_FOLDERS + EVAL_FOLDERS:
        raise TraitError(f"{path}: holds one of the trait's two question sets: give the folder above it instead")
    if len(questions) < 2 or len(questions) % 2:
        raise TraitError(f"{path}: holds {len(questions)} questions: a file with both sets has an even number of them")
    return questions[: len(questions) // 2], questions[len(questions) // 2 :]


def _contrast(instruction: _Instruction, address: tuple[str, str] | None) -> dict[str, str]:
    poles = {"positive": instruction.pos, "negative": instruction.neg}
    texts = {pole: text if isinstance(text, str) else "\n".join(text) for pole, text in poles.items()}
    if address is None:
        return texts
    return {pole: f"{_opening(called)} {text}" for called, (pole, text) in zip(address, texts.items(), strict=True)}


def _opening(called: str) -> str:
    """The sentence both studies put before an instruction; the article goes by the first letter, as in theirs."""
    article = "an" if called[:1].lower() in tuple("aeiou") else "a"
    return f"You are {article} {called} assistant."
