"""From a study to its files: the one place where science, store and figures are put together.

Owns: :func:`run_in`, :func:`write_results` and :func:`saved_studies`. The one law: everything written here can be
written again from the store alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd

from personascope.analysis.effects import curves, effects
from personascope.analysis.frames import answer_rows
from personascope.engines.opening import Opener, open_engine, open_lineage
from personascope.judges.opening import open_judge
from personascope.remembering import Notice, RememberingEngine, RememberingJudge
from personascope.store import Store
from personascope.studies import Study, StudyResult, run_study, study_of
from personascope.trace import Effect


def run_in(
    store: Store,
    study: Study,
    *,
    device: str | None = None,
    dtype: str | None = None,
    asking: bool = True,
    notice: Notice | None = None,
) -> StudyResult:
    """Runs a study on a store: what it holds is not asked again, and the study is kept beside its records.

    With ``asking`` false nothing is asked and no model is loaded: the result comes from the records alone.
    """
    judge = RememberingJudge(open_judge(study.judge, asking=asking), store, asking=asking, notice=notice)
    opener = Opener(
        partial(open_engine, device=device, dtype=dtype),
        keep=2 if study.target else 1,
        wrap=lambda engine: RememberingEngine(engine, store, asking=asking, notice=notice),
    )
    if asking:
        store.keep_study(study.name, json.dumps(asdict(study)))
    return run_study(study, open_lineage(study.lineage), open_engine=opener, judge=judge)


def saved_studies(store: Store) -> list[Study]:
    """The studies that were run on a store."""
    return [
        study_of(json.loads(text), source=f"{store.path}: study '{name}'") for name, text in store.studies().items()
    ]


def write_results(result: StudyResult, out: Path, *, made: Callable[[Path], None] = lambda path: None) -> pd.DataFrame:
    """Writes effects, answers, selections, vectors, the emergence figure and table; gives back the effects.

    ``made`` is told of every file.
    """
    from personascope.figures.emergence import emergence
    from personascope.figures.style import save
    from personascope.figures.tables import emergence_table

    out.mkdir(parents=True, exist_ok=True)
    answers = answer_rows(result.outcomes)
    summary = effects(answers)
    _write_text(out / "effects.csv", summary.to_csv(index=False), made)
    _write_text(out / "answers.csv", answers.to_csv(index=False), made)
    if result.selections:
        _write_text(out / "selection.csv", selection_rows(result).to_csv(index=False), made)
    curve = curves(summary)
    _write_text(out / "emergence.tex", emergence_table(curve), made)
    for kind in ("png", "pdf"):
        save(emergence(curve), out / f"emergence.{kind}")
        made(out / f"emergence.{kind}")
    for effect in result.outcomes:
        if isinstance(effect, Effect) and effect.chosen and effect.vector.origin == "extracted":
            path = out / "vectors" / f"{effect.subject.extract.name}.{effect.milestone.label}.safetensors"
            effect.vector.save(path)
            made(path)
    return summary


def unasked_verdicts(result: StudyResult) -> int:
    """How many verdicts nobody gave (an endpoint that failed): they are not remembered, and another run asks again."""
    answers = {
        id(each): each
        for effect in result.outcomes
        if isinstance(effect, Effect)
        for each in (*effect.plain, *effect.steered)
    }
    return sum((each.trait.outcome == "unasked") + (each.coherence.outcome == "unasked") for each in answers.values())


def selection_rows(result: StudyResult) -> pd.DataFrame:
    """One row per trait and way of steering that was tried: its mean scores on the selection questions."""
    return pd.DataFrame(
        [
            {
                "trait": selection.trait,
                "layer": cell.steering.layer,
                "strength": cell.steering.strength,
                "unit": cell.steering.unit,
                "where": cell.steering.where,
                "score": cell.trait,
                "coherence": cell.coherence,
                "chosen": cell.steering == selection.steering,
            }
            for selection in result.selections
            for cell in selection.cells
        ]
    )


def _write_text(path: Path, text: str, made: Callable[[Path], None]) -> None:
    """Writes a file whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    made(path)
