"""The verbs of judges: check."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import STORE, Device, Dtype, Json, StoreFolder
from personascope.core.tables import write_csv

if TYPE_CHECKING:
    import pandas as pd

    from personascope.judges import Judge
    from personascope.store.store import Store
    from personascope.studies.judges import Anchor, JudgeCheck, Scorer

app = typer.Typer(help="Judges: can one be trusted?", no_args_is_help=True)

CHECKS = "judge-checks.jsonl"
COSTS = "costs.jsonl"
_NUMBERS = ("agreement", "kappa", "pearson", "spearman", "difference", "bias", "precision", "recall")


@app.callback()
def about() -> None:
    """Judges: can one be trusted?"""


@app.command()
def check(
    labels: Annotated[
        Path | None, typer.Argument(help="Labelled answers: .csv or .jsonl with question, answer, score or label.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="'lab', ENDPOINT:MODEL or engine:MODEL; settings follow, as in m#digits,draw=2.")
    ] = None,
    rubric: Annotated[
        str | None, typer.Option(help="A trait (bundled or .toml), 'coherence', or a .toml file with a rubric's text.")
    ] = None,
    form: Annotated[str, typer.Option(help="Of a bundled trait.")] = "assistant",
    url: Annotated[str | None, typer.Option(help="The endpoint's base URL, if not the usual one.")] = None,
    other: Annotated[str | None, typer.Option(help="Another judge to compare with.")] = None,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Ask once more, and compare with what it said the last time and the first.")
    ] = False,
    threshold: Annotated[float, typer.Option(min=0, max=100, help="The score that makes a yes.")] = 50.0,
    scores: Annotated[
        Path | None, typer.Option(help="With --benchmark: our scores of models (model, score, and trait if several).")
    ] = None,
    benchmark: Annotated[
        Path | None,
        typer.Option(help="Scores of the same models on another question set, or their questions and answers."),
    ] = None,
    benchmark_judge: Annotated[str | None, typer.Option(help="Who scores its answers; by default --judge.")] = None,
    benchmark_rubric: Annotated[str | None, typer.Option(help="How they are scored; by default --rubric.")] = None,
    budget: Annotated[str | None, typer.Option(help="Spend no more: 5.00 (US dollars), or '200000 tokens'.")] = None,
    price: Annotated[
        str | None, typer.Option(help="IN,OUT in US dollars per million tokens, if none is noted.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    out: Annotated[Path | None, typer.Option(help="A CSV file for every answer with its label and verdict.")] = None,
    store: StoreFolder = STORE,
    as_json: Json = False,
) -> None:
    """Compare a judge with labelled answers, with itself on another day, with another judge, with another benchmark."""
    from personascope.core.errors import JudgeError
    from personascope.store.store import Store
    from personascope.studies.judges import load_anchors, load_rubric

    if (benchmark is None) != (scores is None):
        raise JudgeError("--scores (ours) and --benchmark (the other question set's) are compared: give both")
    if labels is None and benchmark is None:
        raise JudgeError("there is nothing to compare a judge with: give a file of labelled answers, or --benchmark")
    if labels is not None and (judge is None or rubric is None):
        raise JudgeError(f"{labels} can be checked with a judge and a rubric: give --judge and --rubric")
    if out is not None:
        outputs.check_file(out)
    opening = _Opening(url, budget, price, (device, dtype))
    found: dict[str, Any] = {}
    tables: dict[str, pd.DataFrame] = {}
    try:
        if labels is not None and judge is not None and rubric is not None:
            anchors = load_anchors(labels, load_rubric(rubric, form=form))
            asked = _Asked(opening.judge(judge), opening.judge(other) if other else None, repeat, threshold)
            checked = _checked(asked, anchors, Store(store))
            found |= _told(asked.judge.name, labels, anchors, checked)
            found["last"] = _last(store / CHECKS, found) if repeat else None
            tables["comparisons"] = checked.comparisons
            _remember(store / CHECKS, found)
            _write(out, anchors, checked)
        if benchmark is not None and scores is not None:
            scorer = _scorer(opening, benchmark_judge or judge, benchmark_rubric or rubric, form, store)
            tables["benchmark"] = _correlated(scores, benchmark, scorer)
            found["benchmark"] = tables["benchmark"].to_dict(orient="records")
    finally:
        opening.settle(store / COSTS)
    found["costs"] = [vars(each) for each in opening.ledger.accounts]
    if as_json:
        terminal.print_json(found)
    else:
        _show(found, tables)


@dataclass(frozen=True)
class _Asked:
    """Who is asked, and how."""

    judge: Judge
    other: Judge | None
    repeat: bool
    threshold: float


class _Opening:
    """Opens judges on one ledger, and says what they took."""

    def __init__(
        self, url: str | None, budget: str | None, price: str | None, where: tuple[str | None, str | None]
    ) -> None:
        from personascope.providers.costs import Budget, Ledger, price_given

        self.ledger = Ledger(
            budget=Budget.parse(budget) if budget is not None else None,
            price=price_given(price) if price is not None else None,
        )
        self._url = url
        self._device, self._dtype = where

    def judge(self, name: str) -> Judge:
        """A judge by name; a budget in dollars needs its price."""
        from personascope.engines.opening import open_engine
        from personascope.judges.openai import OpenAIJudge
        from personascope.judges.opening import open_judge

        judge = open_judge(
            name,
            url=self._url,
            meter=self.ledger,
            open_engine=lambda model: open_engine(model, device=self._device, dtype=self._dtype),
        )
        if isinstance(judge, OpenAIJudge):
            self.ledger.price_of(judge.endpoint.name, judge.model)
        return judge

    def settle(self, path: Path) -> None:
        """Keeps what calls took beside the store, and says it."""
        if self.ledger.accounts:
            self.ledger.append_to(path)
            terminal.err.print(str(self.ledger), highlight=False, soft_wrap=True)


def _checked(asked: _Asked, anchors: Sequence[Anchor], store: Store) -> JudgeCheck:
    """The check, with an estimate before and a bar during."""
    from personascope.studies.judges import check_judge

    times = 1 + asked.repeat
    _estimate(asked.judge, anchors, times)
    if asked.other is not None:
        _estimate(asked.other, anchors, 1)
    with terminal.progress(len(anchors) * (times + (asked.other is not None))) as bar:
        return check_judge(
            asked.judge,
            anchors,
            store=store,
            repeat=asked.repeat,
            other=asked.other,
            bar=asked.threshold,
            notice=bar,
        )


def _estimate(judge: Judge, anchors: Sequence[Anchor], times: int) -> None:
    """Says what a judge's calls will take, if they cost anything and none is remembered."""
    from personascope.judges.openai import OpenAIJudge
    from personascope.providers.costs import estimate, price_of

    if isinstance(judge, OpenAIJudge):
        found = estimate(
            judge.bodies([each.case for each in anchors]) * times, price_of(judge.endpoint.name, judge.model)
        )
        terminal.err.print(f"{judge.model}: {found}", highlight=False, soft_wrap=True)


def _scorer(opening: _Opening, judge: str | None, rubric: str | None, form: str, store: Path) -> Scorer | None:
    """What scores the answers of a benchmark that has no scores; none where no judge or rubric is named."""
    if judge is None or rubric is None:
        return None
    from personascope.core.records import Case
    from personascope.store.caching import RememberingJudge
    from personascope.store.store import Store
    from personascope.studies.judges import load_rubric

    opened, chosen = opening.judge(judge), load_rubric(rubric, form=form)

    def score(pairs: Sequence[tuple[str, str]]) -> list[float]:
        with terminal.progress(len(pairs)) as bar:
            cases = [Case(chosen, question, answer) for question, answer in pairs]
            return [each.score for each in RememberingJudge(opened, Store(store), notice=bar).score(cases)]

    return score


def _correlated(scores: Path, benchmark: Path, scorer: Scorer | None) -> pd.DataFrame:
    from personascope.core.errors import JudgeError
    from personascope.studies.judges import correlate, load_scores

    found = correlate(load_scores(scores), load_scores(benchmark, score=scorer))
    if not found["models"].sum():
        raise JudgeError(f"{scores} and {benchmark} share no model (and trait): name models alike in both")
    return found


def _told(judge: str, labels: Path, anchors: Sequence[Anchor], checked: JudgeCheck) -> dict[str, Any]:
    """A check as a table of JSON; the time is that of the check."""
    import datetime

    from personascope.core.identity import key_of

    rubric = anchors[0].case.rubric
    outcomes = Counter(each.outcome for each in checked.verdicts)
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "judge": judge,
        "labels": str(labels),
        "rubric": key_of("rubric", {"rubric": rubric})[:12],
        "answers": len(anchors),
        "outcomes": dict(outcomes),
        "draw": checked.draw,
        "comparisons": checked.comparisons.to_dict(orient="records"),
    }


def _last(path: Path, found: dict[str, Any]) -> str | None:
    """When the judge was asked the last time before this one, if the history knows."""
    from personascope.core.errors import JudgeError
    from personascope.core.tables import read_rows

    rows = [row for _, row in read_rows(path, error=JudgeError)] if path.is_file() else []
    asked = (found["judge"], found["rubric"], found["draw"] - 1)
    before = [row.get("when") for row in rows if (row.get("judge"), row.get("rubric"), row.get("draw")) == asked]
    return before[0] if before else None


def _remember(path: Path, found: dict[str, Any]) -> None:
    """Adds a check to the history beside the store, one line of JSON each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(json.loads(terminal.json_text(found))) + "\n")


def _write(out: Path | None, anchors: Sequence[Anchor], checked: JudgeCheck) -> None:
    """A CSV file with every answer, what is known of it and what the judge said."""
    if out is None:
        return
    rows = [
        {
            "question": anchor.case.question,
            "answer": anchor.case.answer,
            "given": anchor.given if isinstance(anchor.given, float) else "; ".join(anchor.given),
            "judged": "; ".join(verdict.labels) if verdict.labels else verdict.score,
            "outcome": verdict.outcome,
            "reason": verdict.reason,
        }
        for anchor, verdict in zip(anchors, checked.verdicts, strict=True)
    ]
    write_csv(out, rows)


def _show(found: dict[str, Any], tables: dict[str, pd.DataFrame]) -> None:
    if "comparisons" in tables:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in found["outcomes"].items())
        last = f", the last time on {found['last'][:10]}" if found["last"] else ""
        again = f"; asked again, for time {found['draw']}{last}" if found["draw"] else ""
        terminal.out.print(f"{found['judge']}: {found['answers']} answers, {counts}{again}", highlight=False)
        names = ("comparison", "of", "items", *_NUMBERS)
        rows = [tuple(map(_cell, row)) for row in tables["comparisons"][list(names)].itertuples(index=False)]
        terminal.show_rows("the judge beside", names, rows)
    if "benchmark" in tables:
        rows = [tuple(map(_cell, row)) for row in tables["benchmark"].itertuples(index=False)]
        terminal.show_rows("scores of models, ours and the benchmark's", list(tables["benchmark"].columns), rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return str(value)
