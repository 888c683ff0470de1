"""Studies of kind ``screen``: can training samples be told apart before training, and does dropping them help?

Owns: the study's face. The one law: scores are kept in the store under the sha256 of all they depend on, so the tables
can be drawn again without the model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from personascope.applications.screen.config import Filtering, ScreenStudy
from personascope.core.errors import StudyError
from personascope.core.files import value_of
from personascope.core.tables import write_csv
from personascope.studies.context import Report, Table, Workplace
from personascope.studies.registry import beside

if TYPE_CHECKING:
    import pandas as pd

FILES: Final = (
    "separation.csv", "separation.png", "separation.pdf", "filtering.csv", "filtering-questions.csv", "filtering.png",
    "filtering.pdf",
)  # fmt: skip


def read(table: dict[str, Any], *, source: str) -> ScreenStudy:
    """The study of a table; the files it names are looked for beside its own."""
    study = value_of(table, ScreenStudy, source=source, error=StudyError)
    vectors = tuple(replace(each, file=beside(each.file, source)) for each in study.vectors)
    separations = tuple(
        replace(each, positive=_all_beside(each.positive, source), negative=_all_beside(each.negative, source))
        for each in study.separations
    )
    filterings = tuple(_beside(each, source) for each in study.filterings)
    return replace(study, vectors=vectors, separations=separations, filterings=filterings)


def run(study: ScreenStudy, place: Workplace) -> Report:
    """Measures how well sets are told apart; then drops, trains and asks."""
    from personascope.applications.screen.figures import filtering, separation
    from personascope.applications.screen.filtering import filtering_rows, filtering_table, training_of
    from personascope.applications.screen.frames import separation_table
    from personascope.applications.screen.separating import separation_rows

    for each in study.filterings:
        training_of(each, study)
    engine = place.open_engine(study.model)
    judge = place.open_judge(study.judge) if study.judge else None
    tables: list[Table] = []
    files: list[Path] = []
    if study.separations:
        rows = separation_rows(study, engine, judge, place.store, place.out / "data")
        table = separation_table(rows)
        files += _written(place, "separation", rows, separation(rows))
        tables.append(Table("told apart (area under the ROC curve)", *_shown(table, 3)))
    if study.filterings and judge is not None:
        rows = filtering_rows(study, place, engine, judge)
        write_csv(place.out / "filtering-questions.csv", rows)
        files.append(place.out / "filtering-questions.csv")
        table = filtering_table(rows)
        files += _written(place, "filtering", table, filtering(table))
        tables.append(Table("trained on what was left (score points)", *_shown(table, 1)))
    for path in files:
        place.made(path)
    return Report(tuple(tables), tuple(files))


def counts(study: ScreenStudy) -> dict[str, int]:
    """Responses, verdicts, new tokens and loads, at most; datasets without a count are not counted."""
    from personascope.core.traits import load_trait

    seeds = len(study.seeds)
    mixed = [sum((each.contamination | each.clean).values()) for each in study.filterings]
    sets = {name for each in study.separations for name in (*each.positive, *each.negative)}
    samples = seeds * (len(sets) * (study.count or 0) + sum(mixed))
    runs = [1 + seeds * len(each.arms) for each in study.filterings]
    judged = sum(size for each, size in zip(study.filterings, mixed, strict=True) if _judged(each))
    instructed = plain = 0
    drawn = seeds if study.vectors_seed is None else 1
    for each in study.vectors:
        if not each.file:
            trait = load_trait(each.trait, form=each.form).limited(study.limit)
            instructed += 2 * len(trait.instructed("positive")) * study.extraction.draws * drawn
            plain += len(trait.questions("evaluation")) * drawn
    forms = {each.trait: each.form for each in study.vectors}
    for filtering, many in zip(study.filterings, runs, strict=True):
        trait = load_trait(filtering.trait, form=forms[filtering.trait]).limited(study.limit)
        plain += many * len(trait.questions("evaluation")) * study.evaluation.draws
    said = instructed * study.extraction.max_tokens + plain * study.evaluation.max_tokens
    return {
        "responses": instructed + plain + samples,
        "verdicts": 2 * (instructed + plain) + seeds * judged * len(study.vectors),
        "tokens": said + samples * study.own.max_tokens,
        "loads": 1 + sum(runs),
        "trainings": sum(runs) - len(runs),
    }


def _judged(filtering: Filtering) -> bool:
    return bool({"judge", "either"} & set(filtering.arms))


def _all_beside(names: tuple[str, ...], source: str) -> tuple[str, ...]:
    return tuple(beside(name, source) for name in names)


def _beside(filtering: Filtering, source: str) -> Filtering:
    contamination, clean = (
        {beside(name, source): count for name, count in some.items()}
        for some in (filtering.contamination, filtering.clean)
    )
    rule = replace(filtering.rule, reference=beside(filtering.rule.reference, source))
    return replace(filtering, contamination=contamination, clean=clean, rule=rule)


def _written(place: Workplace, name: str, rows: pd.DataFrame, figure: Any) -> list[Path]:
    from personascope.figures.style import save

    paths = [place.out / f"{name}.{ending}" for ending in ("csv", "png", "pdf")]
    write_csv(paths[0], rows)
    save(figure, *paths[1:])
    return paths


def _shown(table: pd.DataFrame, digits: int) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """A frame's columns and cells as text; what is not known is a dash."""
    cells = tuple(
        tuple("-" if cell != cell else f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell) for cell in row)
        for row in table.itertuples(index=False)
    )
    return tuple(str(name).replace("_", " ") for name in table.columns), cells
