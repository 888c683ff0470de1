"""How the published repository names its folders, files and columns.

Owns: the grammar of names, and :func:`response_place`, what a responses file is by where it lies. The one law: a name
is taken apart by the rules here and nowhere else, and no rule knows a model, a trait or a checkpoint by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import nan
from typing import Any

RESPONSES = "data/model_responses"
VECTORS = "data/persona_vectors"
TRAIT_SETS = {
    "extract": "data/trait_data_extract",
    "eval": "data/trait_data_eval",
    "upstream_eval": "data/upstream_trait_data_eval",
}
PLACES = (RESPONSES, VECTORS, *TRAIT_SETS.values(), "results")
"""The folders that make a folder the published repository: one of them, with a file of the layout in it, is enough."""

_FORMS = {"character": "character", "dialogue": "dialogue", "stories": "story", "combined": "combined"}
_COLUMN = re.compile(r"(?P<trait>.+?)_(?:(?P<form>character|dialogue|stories)(?:_neutral_q)?|(?P<all>combined))")
_VARIANT = re.compile(r"(?P<revision>main|.*?\d[A-Za-z]?)_(?P<variant>[A-Za-z].*)")
_REVISION = re.compile(r"main|.*\d.*")
_RUNS = ("instruct_transfer", "extraction_ablation", "controls")
_STEERED = re.compile(r"steer(?:ing_results)?_(?P<vector>.+?)_(?:to|on)_(?P<rest>.+)")
_NUMBER = r"(\d+(?:[.p]\d+)?)"


@dataclass(frozen=True)
class Place:
    """What a responses file is, by where it lies and how it is called.

    ``revision`` is the one that answered, ``source_revision`` the one the vector is from. ``run`` is the folder of the
    run, ``variant`` what follows the revision in its folder's name. ``pole`` is set for extraction answers alone.
    ``vector_column`` is what the file's name calls the vector, often shortened; ``layer``, ``coef`` and ``target_norm``
    are NaN where the name does not say them; ``scaling`` is the name's word for how the vector was scaled.
    """

    kind: str
    model: str
    revision: str
    source_revision: str = ""
    run: str = ""
    variant: str = ""
    pole: str = ""
    vector_column: str = ""
    layer: float = nan
    coef: float = nan
    scaling: str = ""
    target_norm: float = nan
    extended: bool = False


def is_of_the_layout(file: str) -> bool:
    """Whether a file may be one of the published repository's, by its place and its ending.

    Example:
        >>> is_of_the_layout("results/M/pass_rate.csv"), is_of_the_layout("results/summary.csv")
        (True, False)
    """
    deep = file.count("/") > 1 and file.endswith((".csv", ".json", ".pt"))
    return deep and any(file.startswith(f"{place}/") for place in PLACES)


def is_results(file: str) -> bool:
    """Whether a file is a table of results with p-values, or calls itself one.

    Example:
        >>> is_results("results/M/grid/combined_significance.csv"), is_results("results/M/grid/combined.csv")
        (True, False)
    """
    name = file.rsplit("/", 1)[-1]
    return file.startswith("results/") and name.startswith("combined") and "significance" in name


def trait_of(column: str) -> tuple[str, str]:
    """The trait and the form that a published trait column names.

    Example:
        >>> trait_of("evil_stories_neutral_q"), trait_of("evil")
        (('evil', 'story'), ('evil', 'assistant'))
    """
    found = _COLUMN.fullmatch(column)
    if not found:
        return column, "assistant"
    return found["trait"], _FORMS[found["form"] or found["all"]]


def revision_of(folder: str) -> tuple[str, str]:
    """The revision that a folder is named for, and the variant that follows it, often empty.

    Example:
        >>> revision_of("main_deepseek_v4"), revision_of("step50000-tokens210B")
        (('main', 'deepseek_v4'), ('step50000-tokens210B', ''))
    """
    found = _VARIANT.fullmatch(folder)
    return (found["revision"], found["variant"]) if found else (folder, "")


def response_place(file: str) -> Place | None:
    """What the responses file at this path (from the repository's root) is; ``None`` if its name is none of the layout.

    Extraction answers lie in ``extract/MODEL/REVISION``, baselines in ``eval/MODEL/REVISION``, steered answers below
    them in a folder named for the vector's revision; those of a run in ``RUN/baselines`` and ``RUN/steered/REVISION``.
    """
    parts = file.removeprefix(f"{RESPONSES}/").split("/")
    if len(parts) < 3:
        return None
    task, model, folders, name = parts[0], parts[1], parts[2:-1], parts[-1].removesuffix(".csv")
    if task == "extract" and folders:
        pole = re.search(r"_(pos|neg)_instruct$", name)
        revision, variant = revision_of(folders[0])
        poles = {"pos": "positive", "neg": "negative"}
        return Place("extraction", model, revision, variant=variant, pole=poles[pole[1]]) if pole else None
    if task != "eval" or not name.startswith(("baseline", "steer")):
        return None
    return _evaluation(model, folders, name)


def _evaluation(model: str, folders: list[str], name: str) -> Place:
    kind = "baseline" if name.startswith("baseline") else "steered"
    revision, variant = ("main", "") if not folders or folders[0] in _RUNS else revision_of(folders[0])
    inner = folders if not folders or folders[0] in _RUNS else folders[1:]
    run, source = "", ""
    if "extraction_ablation" in inner:
        # One folder per judge or setting: the revision both gave the vector and was steered.
        run, folder = "extraction_ablation", inner[-1]
        revision, variant = revision_of(folder)
        source = revision if kind == "steered" else ""
    elif "steered" in inner or "baselines" in inner:
        place = next(index for index, each in enumerate(inner) if each in ("steered", "baselines"))
        run = inner[place - 1] if place else ""
        below = revision_of(inner[place + 1])[0] if kind == "steered" and len(inner) > place + 1 else ""
        source = below if _REVISION.fullmatch(below) else ""  # else it is a trait or a kind of control
    elif inner and kind == "steered":
        source, variant = revision_of(inner[-1])
    return Place(kind, model, revision, source, run, variant, **(_way(name) if kind == "steered" else {}))


def _way(name: str) -> dict[str, Any]:
    """How a steered file's name says it was steered: the vector, the layer, the scale and the coefficient."""
    found = _STEERED.fullmatch(name)
    rest = found["rest"] if found else name
    scaling = re.search(r"_(unit_norm|norm_calibrated|normed|norm_\d+|targetnorm)", rest)
    return {
        "vector_column": found["vector"] if found else "",
        "layer": _number(rf"_layer{_NUMBER}", rest),
        "coef": _number(rf"_coef_?{_NUMBER}", rest),
        "scaling": scaling[1] if scaling else "",
        "target_norm": _number(rf"_targetnorm{_NUMBER}", rest),
        "extended": rest.endswith("_extended"),
    }


def _number(pattern: str, name: str) -> float:
    """A number in a file's name, which may have ``p`` for its point."""
    found = re.search(pattern, name)
    return float(found[1].replace("p", ".")) if found else nan
