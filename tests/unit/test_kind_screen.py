"""Studies of kind screen: what they say is checked at the door, and a small one runs, again from memory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from personascope.core.errors import StudyError
from personascope.store.store import Store
from personascope.studies.context import RunContext
from personascope.studies.registry import open_study, study_in
from personascope.studies.run import run

SAMPLING = {"max_tokens": 8, "temperature": 1.0, "repetition_penalty": 1.0, "draws": 1}
TABLE = {
    "kind": "screen",
    "name": "small",
    "model": "lab",
    "judge": "lab",
    "count": 8,
    "random": 2,
    "limit": 6,
    "longest": 1024,
    "extraction": SAMPLING,
    "evaluation": SAMPLING,
    "own": SAMPLING | {"temperature": 0.0},
    "vectors": [{"trait": "cruel", "form": "lab", "layer": 3}],
    "separations": [{"trait": "cruel", "positive": ["lab:cruel/severe"], "negative": ["lab:cruel/normal"]}],
    "filterings": [
        {
            "trait": "cruel",
            "contamination": {"lab:cruel/severe": 4},
            "clean": {"lab:rude/normal": 12},
            "rule": {"share": 0.25},
            "arms": ["all", "own", "random", "judge"],
            "training": {"method": "full", "max_steps": 1, "batch": 4, "accumulation": 1},
        }
    ],
}


def changed(**parts):
    return {**TABLE, **parts}


@pytest.mark.parametrize("name", ["lab-screen", "qwen-2.5-7b-screen"])
def test_bundled_studies_are_read_and_counted_without_a_model(name):
    counted = open_study(name).study.counts()
    assert min(counted.values()) > 0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (changed(vectors=[]), "names no vector, or no seed"),
        (changed(judge=""), "names no judge"),
        (changed(separations=[{"trait": "rude", "positive": ["a"], "negative": ["b"]}]), "'rude' is measured along no"),
        (changed(separations=[{"trait": "cruel", "positive": [], "negative": ["b"]}]), "lacks positive or negative"),
        (changed(cuont=3), "did you mean 'count'"),
        (changed(filterings=[TABLE["filterings"][0] | {"contamination": {}}]), "0 sets: give one"),
        (changed(filterings=[TABLE["filterings"][0] | {"rule": {}}]), "has no share, threshold or reference"),
        (changed(filterings=[TABLE["filterings"][0] | {"rule": {"share": 2}}]), "between 0 and 1"),
    ],
)
def test_a_study_that_says_too_little_or_nonsense_is_refused(table, said):
    with pytest.raises(StudyError, match=said):
        study_in(table, source="study.toml")


def test_a_training_that_means_nothing_is_refused_before_anything_is_asked(tmp_path):
    wrong = TABLE["filterings"][0] | {"training": {"learning_rat": 1}}
    context = RunContext(tmp_path / "out", Store(tmp_path / "store"))
    with pytest.raises(StudyError, match="did you mean 'learning_rate'"):
        run(study_in(changed(filterings=[wrong]), source="x"), context)
    assert not context.opened


def test_a_small_study_runs_and_gives_the_same_from_memory(tmp_path):
    chosen = study_in(changed(filterings=[TABLE["filterings"][0] | {"rule": {"share": 0.25, "bar": 50}}]), source="x")
    asked: list[int] = []
    context = RunContext(
        tmp_path / "out", Store(tmp_path / "store"), notice=lambda kind, count, fresh: asked.append(count * fresh)
    )
    report = run(chosen, context)
    assert {each.name for each in report.files} == set(chosen.study.files())
    separation = pd.read_csv(tmp_path / "out" / "separation.csv")
    assert set(separation["measure"]) == {
        "projection difference", "above the last prompt token", "raw projection", "random directions",
    }  # fmt: skip
    assert separation["auroc"].between(0, 1).all()
    rows = pd.read_csv(tmp_path / "out" / "filtering-questions.csv").drop_duplicates("arm").set_index("arm")
    assert dict(rows["trained_on"]) == {"untrained": 0, "all": 16, "own": 12, "random": 12, "judge": 12}
    assert rows.loc["judge", "contaminated_left"] == 0, "the lab's judge knows cruel answers"
    assert rows.loc["all", "contaminated_left"] == 4
    asked.clear()
    again = run(chosen, RunContext(tmp_path / "again", context.store, notice=context.notice))
    assert sum(asked) == 0, "what was answered, measured and trained once is not asked again"
    for one, other in zip(report.files, again.files, strict=True):
        if one.suffix == ".csv":
            assert one.read_bytes() == Path(other).read_bytes()
