"""The verb facets: which kinds of a trait answers show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import Json
from personascope.core.tables import write_csv

if TYPE_CHECKING:
    import pandas as pd

    from personascope.core.facets import FacetSet
    from personascope.core.records import Bar
    from personascope.store.caching import RememberingJudge

FILES = ("facets.csv", "rates.csv", "facets.png", "facets.pdf", "agreement.csv", "labelled.csv")
POLES = ("steered", "plain")
COSTS = "costs.jsonl"
USUAL_BAR = 50.0
_LEFT_OUT = {
    "silent": "without words",
    "unscored": "without a score",
    "low_trait": "below the bar on the trait",
    "low_coherence": "below the bar on coherence",
    "undrawn": "not drawn",
}


def facets(
    answers: Annotated[
        Path, typer.Argument(help="A store (or a folder that holds one), or answers as .csv or .jsonl.")
    ],
    facet_set: Annotated[str | None, typer.Option("--set", help="A bundled set of facets, or a .toml file.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="'lab', [ENDPOINT:]MODEL[#SETTING,...], or engine:MODEL on this machine.")
    ] = None,
    trait: Annotated[str | None, typer.Option(help="Of a store: whose answers; by default the set's trait.")] = None,
    pole: Annotated[str, typer.Option(help="Of a store: steered or plain answers.")] = "steered",
    group: Annotated[
        str | None, typer.Option(help="Of a file: the column that tells groups apart; by default milestone, or group.")
    ] = None,
    per_question: Annotated[int, typer.Option(min=1, help="At most so many answers per question and milestone.")] = 5,
    every: Annotated[bool, typer.Option("--every", help="Ask about every answer instead.")] = False,
    least_trait: Annotated[
        float | None, typer.Option(help="The least trait score of an answer; by default 50, in a file none.")
    ] = None,
    least_coherence: Annotated[
        float | None, typer.Option(help="The least coherence of an answer; by default 50, in a file none.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the draw.")] = 0,
    human: Annotated[
        Path | None, typer.Option(help="Answers that people labelled (question, answer, labels): is the judge right?")
    ] = None,
    url: Annotated[str | None, typer.Option(help="The endpoint's base URL, if not the usual one.")] = None,
    budget: Annotated[str | None, typer.Option(help="Spend no more: 5.00 (US dollars), or '200000 tokens'.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to; verdicts are remembered in it.")] = Path("facets"),
    as_json: Json = False,
) -> None:
    """Say which facets of a trait answers show, how often, and with --human whether the judge finds those people find.

    Answers are drawn evenly over questions. What cannot be read is counted beside the rates and is never no facet.
    """
    from personascope.applications.facets.answers import load_labels
    from personascope.applications.facets.core import annotate, facet_agreement

    chosen = _chosen(facet_set)
    asking = _Asking(judge, url, budget)
    in_file = answers.suffix.casefold() in (".csv", ".jsonl")
    usual = None if in_file else USUAL_BAR
    bar = _bar(usual if least_trait is None else least_trait, usual if least_coherence is None else least_coherence)
    outputs.check_folder(out, FILES)
    labelled, without = load_labels(human, chosen) if human is not None else (None, 0)
    rows = _rows(answers, chosen, in_file=in_file, of=(trait, pole), group=group)
    with asking.remembering(
        out, len(chosen.rubrics) * (len(rows) + (0 if labelled is None else len(labelled)))
    ) as asked:
        drawn = None if every else per_question
        found = annotate(
            rows, chosen, judge=asked, by=("facet_set", "milestone"), bar=bar, per_question=drawn, seed=seed
        )
        agreed = None if labelled is None else facet_agreement(labelled, chosen, judge=asked)
    tables = _written(found, agreed, chosen, out)
    if as_json:
        about = {"facets": chosen.name, "judge": asked.name, "bar": vars(bar), "per_question": drawn, "seed": seed}
        terminal.print_json({**about, **{name: table.to_dict(orient="records") for name, table in tables.items()}})
        return
    _show(tables, chosen, without)
    terminal.out.print(_sampled(found, drawn, seed, bar), highlight=False, soft_wrap=True)
    names = [name for name in FILES if (out / name).exists()]
    terminal.out.print("wrote " + ", ".join(str(out / name) for name in names), highlight=False, soft_wrap=True)


def _chosen(name: str | None) -> FacetSet:
    from personascope.core.errors import TraitError
    from personascope.core.facets import load_facets
    from personascope.core.files import bundled

    if name is None:
        raise TraitError(
            f"no set of facets was named: give --set NAME ({', '.join(bundled('facets'))}), or a .toml file"
        )
    return load_facets(name)


def _bar(trait: float | None, coherence: float | None) -> Bar:
    from personascope.core.records import Bar

    return Bar(trait, coherence)


def _rows(
    answers: Path, chosen: FacetSet, *, in_file: bool, of: tuple[str | None, str], group: str | None
) -> pd.DataFrame:
    """The answers to annotate, of a file or of a store."""
    from personascope.applications.facets.answers import load_answers, recorded_answers
    from personascope.core.errors import StoreError, StudyError, nearest
    from personascope.store.store import Store

    trait, pole = of
    if in_file:
        if trait is not None or pole != "steered":
            raise StudyError(f"--trait and --pole choose answers of a store, and {answers} is a file: leave them out")
        return load_answers(answers, group=group, name=chosen.name)
    if group is not None:
        raise StudyError(f"--group is a column of a file, and {answers} is a store: leave it out")
    if pole not in POLES:
        raise StudyError(f"answers of the pole '{pole}' were asked for; {nearest(pole, POLES)}")
    folder = next((each for each in (answers, answers / "store") if (each / "records.sqlite").is_file()), None)
    if folder is None:
        raise StoreError(f"{answers} holds no store (records.sqlite) and is no .csv or .jsonl file: give one of them")
    wanted = chosen.trait if trait is None else trait
    return recorded_answers(Store(folder), trait=wanted, plain=pole == "plain", name=chosen.name)


class _Asking:
    """The judge a verb was given, opened before anything is read, and what it may spend."""

    def __init__(self, name: str | None, url: str | None, budget: str | None) -> None:
        from personascope.core.errors import JudgeError
        from personascope.engines.opening import open_engine
        from personascope.judges.openai import OpenAIJudge
        from personascope.judges.opening import open_judge
        from personascope.providers.costs import Budget, Ledger

        if name is None:
            raise JudgeError("no judge was named: give --judge [ENDPOINT:]MODEL")
        self._ledger = Ledger(budget=Budget.parse(budget) if budget is not None else None)
        self._judge = open_judge(name, url=url, meter=self._ledger, open_engine=open_engine)
        if isinstance(self._judge, OpenAIJudge):
            self._ledger.price_of(self._judge.endpoint.name, self._judge.model)

    @contextmanager
    def remembering(self, out: Path, most: int) -> Iterator[RememberingJudge]:
        """The judge, remembering in the folder that is written to; in the end it is said what calls took."""
        from personascope.store.caching import RememberingJudge
        from personascope.store.store import Store

        try:
            with terminal.progress(most) as bar:
                yield RememberingJudge(self._judge, Store(out / "store"), notice=bar)
        finally:
            if self._ledger.accounts:
                self._ledger.append_to(out / COSTS)
                terminal.err.print(str(self._ledger), highlight=False, soft_wrap=True)


def _written(
    found: pd.DataFrame, agreed: tuple[pd.DataFrame, pd.DataFrame] | None, chosen: FacetSet, out: Path
) -> dict[str, pd.DataFrame]:
    """Writes rows, rates, their figure and the agreement; gives back the tables of numbers."""
    from personascope.applications.facets.core import COMMON, facet_curves
    from personascope.applications.facets.figures import facets as draw
    from personascope.figures.style import save

    out.mkdir(parents=True, exist_ok=True)
    rates = facet_curves(found, chosen)
    write_csv(out / "facets.csv", found)
    write_csv(out / "rates.csv", rates)
    named = rates["facet_set"].where(rates["over"] != COMMON, rates["facet_set"] + ", on common questions")
    figure = draw(rates.assign(facet_set=named))
    for kind in ("png", "pdf"):
        save(figure, out / f"facets.{kind}")
    if agreed is None:
        return {"rates": rates}
    agreement, labelled = agreed
    write_csv(out / "agreement.csv", agreement)
    write_csv(out / "labelled.csv", labelled)
    return {"rates": rates, "agreement": agreement}


def _show(tables: Mapping[str, pd.DataFrame], chosen: FacetSet, without: int) -> None:
    """Rates, one line per milestone, and the agreement."""
    from personascope.analysis.agreement import NONE

    rates = tables["rates"]
    names = (*chosen.names, *([NONE] if chosen.may_be_none else []))
    lines = []
    for _, group in rates.groupby(["facet_set", "over", "milestone"], sort=False):
        one = group.iloc[0]
        share = dict(zip(group["facet"], group["rate"], strict=True))
        unread = f"{one['refused'] + one['unreadable'] + one['unasked']}"
        about = [one["facet_set"], one["over"].split()[0], one["milestone"]]
        counts = [f"{one['answers']}", _cell(one["questions"]), unread]
        lines.append((*map(str, about), *(_percent(share[name]) for name in names), *counts))
    head = ("facets", "over", "milestone", *names, "answers", "questions", "unread")
    terminal.show_rows("the share of answers that show each facet, of those the judge could be read on", head, lines)
    if "agreement" not in tables:
        return
    agreement = tables["agreement"]
    columns = ("facet", "items", "first", "second", "both", "agreement", "chance", "precision", "recall", "f1", "kappa")
    cells = [tuple(_cell(each) for each in row) for row in agreement[list(columns)].itertuples(index=False)]
    terminal.show_rows("people (first) and the judge (second)", columns, cells)
    said = f"unread by the judge: {agreement['unread'].iloc[0]}; without a label: {without}"
    guess = f"; guessing one of {len(chosen.names)} is right in {1 / len(chosen.names):.1%}" if chosen.exclusive else ""
    terminal.out.print(said + guess, highlight=False)


def _sampled(found: pd.DataFrame, drawn: int | None, seed: int, bar: Bar) -> str:
    """How answers were chosen, and what was left out."""
    counts = found["standing"].value_counts()
    least = [f"{name} at least {points:g}" for name, points in vars(bar).items() if points is not None]
    left = [f"{counts[name]} {words}" for name, words in _LEFT_OUT.items() if counts.get(name)]
    how = (
        "every answer"
        if drawn is None
        else f"at most {drawn} answer{'' if drawn == 1 else 's'} per question and milestone (seed {seed})"
    )
    left_out = sum(int(counts.get(name, 0)) for name in _LEFT_OUT)
    return f"{len(found) - left_out} of {len(found)} answers: {how}{'; ' if least else ''}{' and '.join(least)}" + (
        f"; left out: {', '.join(left)}" if left else ""
    )


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.0f} %"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return str(value)
