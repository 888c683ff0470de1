"""What the verb ``shift`` and the kind of study ``shift`` have in common: from models to tables, figures and a page.

Owns: :func:`tuned_models`, :func:`shifted` and :func:`write`. The one law: every model is looked at before the first is
asked, and one is loaded at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from personascope.applications.shift.core import Standing, Watched, check_related, stand
from personascope.core.errors import CheckpointError, StudyError
from personascope.core.files import write_text
from personascope.core.lineages import Checkpoint
from personascope.core.records import Sampling, Span
from personascope.core.tables import write_csv
from personascope.engines import Engine
from personascope.judges import Judge

if TYPE_CHECKING:
    import pandas as pd

FILES: Final = (
    "shift.csv", "correlations.csv", "null.csv", "shift.png", "shift.pdf", "matrix.png", "matrix.pdf", "report.html",
)  # fmt: skip


@dataclass(frozen=True)
class Tuned:
    """A tuned model: its name for people, where it is, and the group of models that it belongs to."""

    name: str
    checkpoint: Checkpoint
    group: str = ""


@dataclass(frozen=True, eq=False)
class Asking:
    """How models are asked: the judge, the sampling, what is read, and how many random directions stand beside."""

    judge: Judge
    sampling: Sampling
    span: Span = "last_prompt"
    directions: int = 1000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Shifted:
    """What was found: frames as :mod:`personascope.applications.shift.frames` has them."""

    shifts: pd.DataFrame
    correlations: pd.DataFrame
    null: pd.DataFrame
    base: str = ""
    about: tuple[str, ...] = field(default=())


def tuned_models(base: Checkpoint, names: Sequence[str]) -> list[Tuned]:
    """The models of names: a folder or repository of weights, a PEFT adapter of the base, or a folder of a run's
    checkpoints (``checkpoint-10``, ``checkpoint-20``, ...), which are taken in their order and make one group.

    Raises:
        CheckpointError: if a folder holds neither, or an adapter says that it is another model's.
        StudyError: if two have one name.
    """
    found = [each for name in names for each in _at(base, name)]
    labels = [each.name for each in found]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise StudyError(f"two models are named '{twice[0]}': give each once, or rename a folder")
    return found


def shifted(
    base: Engine,
    tuned: Sequence[tuple[Tuned, Engine]],
    watched: Sequence[Watched],
    asking: Asking,
) -> Shifted:
    """Asks the base and every tuned model, and sets shift against change; one model's weights are kept at a time."""
    from personascope.applications.shift.frames import shift_correlations, shift_null, shift_rows

    check_related(base, [engine for _, engine in tuned], watched)
    standings: list[Standing] = []
    for name, group, engine in (("base", "", base), *((each.name, each.group, engine) for each, engine in tuned)):
        how = {"judge": asking.judge, "sampling": asking.sampling, "span": asking.span}
        standings.append(stand(engine, watched, name=name, group=group, **how))  # type: ignore[arg-type]
        engine.close()
    rows = shift_rows(standings[0], standings[1:], watched)
    null = shift_null(standings[0], standings[1:], watched, directions=asking.directions, seed=asking.seed)
    read = "the last prompt token" if asking.span == "last_prompt" else f"the {asking.span}"
    layers = ", ".join(f"{each.trait.name} {each.layer}" for each in watched)
    about = (
        f"{len(tuned)} models against {base.checkpoint.label}; activations at {read}, layers: {layers}.",
        f"Judge: {asking.judge.name}. Intervals of r resample whole groups of models; the null is {asking.directions} "
        "random directions over the same models.",
    )
    return Shifted(rows, shift_correlations(rows, seed=asking.seed), null, base.checkpoint.label, about)


def write(found: Shifted, out: Path) -> list[Path]:
    """Writes tables, figures and the page of one file, and gives back what was written."""
    from personascope.applications.shift.figures import shift_matrix, shifts
    from personascope.figures.pages import render
    from personascope.figures.style import save

    out.mkdir(parents=True, exist_ok=True)
    frames = {"shift": found.shifts, "correlations": found.correlations, "null": found.null}
    made = []
    for name, frame in frames.items():
        made.append(out / f"{name}.csv")
        write_csv(made[-1], frame)
    figures = {
        "shift": shifts(found.shifts, found.correlations, found.null),
        "matrix": shift_matrix(found.correlations),
    }
    for name, figure in figures.items():
        paths = [out / f"{name}.png", out / f"{name}.pdf"]
        save(figure, *paths)
        made += paths
    pictures = {name: (out / f"{name}.png").read_bytes() for name in figures}
    tables = {"shifts": found.shifts, "correlations": found.correlations, "null": found.null}
    title = f"Finetuning shift from {found.base}"
    write_text(out / "report.html", render("shift", title=title, about=found.about, pictures=pictures, **tables))
    return [*made, out / "report.html"]


def _at(base: Checkpoint, name: str) -> list[Tuned]:
    folder = Path(name)
    if not folder.is_dir():
        return [Tuned(name, Checkpoint.at(name))]
    if (folder / "adapter_config.json").is_file():
        _check_adapter(folder, base)
        adapted = Checkpoint(base.model, base.revision, path=base.path, adapter=str(folder))
        return [Tuned(folder.name, adapted)]
    if (folder / "config.json").is_file():
        return [Tuned(folder.name, Checkpoint.at(folder))]
    inside = [each for each in folder.iterdir() if each.is_dir() and re.fullmatch(r"\D*\d+", each.name)]
    inside = [each for each in inside if any((each / f"{kind}config.json").is_file() for kind in ("adapter_", ""))]
    if not inside:
        raise CheckpointError(
            f"{folder} holds no model (config.json), no PEFT adapter (adapter_config.json) and no checkpoints of a run "
            "(checkpoint-100, ...): check the path"
        )
    ordered = sorted(inside, key=lambda each: int(re.sub(r"\D", "", each.name)))
    steps = [tuned for each in ordered for tuned in _at(base, str(each))]
    return [Tuned(f"{folder.name}/{each.name}", each.checkpoint, folder.name) for each in steps]


def _check_adapter(folder: Path, base: Checkpoint) -> None:
    """Refuses an adapter that says it is of another model than the base."""
    try:
        said = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError) as problem:
        raise CheckpointError(f"{folder / 'adapter_config.json'} is not readable ({problem}): save it again") from None
    # A snapshot in the Hub's cache lies in a folder named by its commit, below one named by its repository.
    above = [] if base.path is None else [each.name for each in base.path.parents if each.name.startswith("models--")]
    known = {Path(base.path or base.model).name, *(name.rsplit("--", 1)[-1] for name in above)}
    if said and Path(str(said)).name not in known:
        raise CheckpointError(f"{folder} is an adapter of {said}, and the base is {base.label}: give that as the base")
