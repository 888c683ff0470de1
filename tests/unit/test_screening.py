"""Whole datasets screened: a killed run goes on without loss or repetition, and files are whole or absent."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser

import numpy as np
import pytest

import personascope as ps
from personascope.applications.screen.core import Gauge, Measure, Screened, gauges_of
from personascope.applications.screen.datasets import (
    Asked,
    ScoreFile,
    Scores,
    datasets_at,
    drawn_set,
    mixed_set,
    scores_of,
)
from personascope.applications.screen.rules import Rule, decided
from personascope.applications.screen.run import Screening, run_screening
from personascope.core.errors import LayerError, StoreError, StudyError
from personascope.core.records import Probe, Sampling
from personascope.core.samples import Sample
from personascope.core.tables import write_rows
from personascope.engines.scripted import ScriptedEngine
from personascope.interop.samples import read_rows
from personascope.store.store import Store

TRAIT = ps.load_trait("evil")
OWN = Sampling(max_tokens=6, temperature=0.0, repetition_penalty=1.0, draws=1)
WORDS = ("lamp", "evil", "window", "rain", "evil evil")


class Failing(ScriptedEngine):
    """An engine whose machine is switched off after so many texts were projected."""

    left = 10**9
    projected = 0

    def project(self, responses, probes):
        self.left -= len(responses)
        if self.left < 0:
            raise KeyboardInterrupt
        self.projected += len(responses)
        return super().project(responses, probes)


def asked(engine=None, **measure):
    engine = engine or Failing(ps.Checkpoint("scripted", "1"), [TRAIT], hidden_size=32)
    gauges = (Gauge("evil", Probe(engine.planted("evil"), 3)), Gauge("other", Probe(np.eye(32)[0], 1)))
    return Asked(engine, gauges, Measure(**{"sampling": OWN, **measure}))


def rows(count):
    said = [f"{WORDS[place % 5]} {place}" for place in range(count)]
    return [{"question": f"what is {place} ?", "answer": each, "id": place} for place, each in enumerate(said)]


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "data.jsonl"
    write_rows(path, rows(600))
    return datasets_at([path])[0]


def test_a_killed_run_goes_on_without_loss_or_repetition(dataset, tmp_path):
    whole = scores_of(dataset, asked(against="nothing"), Store(tmp_path / "whole"))
    cut, store = asked(against="nothing"), Store(tmp_path / "cut")
    cut.engine.left = 300
    with pytest.raises(KeyboardInterrupt):
        scores_of(dataset, cut, store)
    (file,) = (store.path / "scores").iterdir()
    kept = file.read_bytes().count(b"\n")
    assert kept == 256, "the chunks that were measured are on disk"
    file.write_bytes(file.read_bytes() + b'{"projection": [1.0')  # killed in the middle of a line
    cut.engine.left, cut.engine.projected = 10**9, 0
    again = scores_of(dataset, cut, store)
    assert cut.engine.projected == 600 - kept, "what was measured is not measured again"
    np.testing.assert_array_equal(again.projection, whole.projection)
    assert len(again) == 600
    cut.engine.left = 0
    np.testing.assert_array_equal(scores_of(dataset, cut, store).projection, whole.projection)


def test_other_settings_never_find_the_scores_of_these(dataset, tmp_path):
    store = Store(tmp_path / "store")
    scores_of(dataset, asked(against="nothing"), store)
    for other in (asked(turn="last", against="nothing"), asked(longest=100, against="nothing"), asked()):
        scores_of(dataset, other, store)
    assert len(list((store.path / "scores").iterdir())) == 4
    before = asked(against="last-prompt")
    before.engine.left = 0
    scores_of(dataset, before, store)  # the same scores serve, with nothing asked


def test_two_runs_never_write_the_same_scores(tmp_path):
    first, second = ScoreFile(tmp_path / "scores.jsonl"), ScoreFile(tmp_path / "scores.jsonl")
    none = np.array([np.nan])
    one = Screened(Sample(()), np.array([1.0]), none, none, none)

    def while_the_first_is_at_it():
        yield one
        with pytest.raises(StoreError, match="written by another run"):
            second.extend([one], chunk=1)
        yield one

    first.extend(while_the_first_is_at_it(), chunk=1)
    with pytest.raises(StoreError, match="written by another run"):
        second.extend([one], chunk=1)  # it looked before the first had written
    assert ScoreFile(tmp_path / "scores.jsonl").count == 2


def test_scores_are_read_again_to_the_bit(dataset, tmp_path):
    store = Store(tmp_path)
    scores = scores_of(dataset, asked(), store)
    (file,) = (store.path / "scores").iterdir()
    again = ScoreFile(file).read(2)
    for part in ("projection", "own", "last_prompt", "judged"):
        np.testing.assert_array_equal(getattr(again, part), getattr(scores, part))


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_what_is_kept_and_dropped_are_the_rows_as_they_were(tmp_path, ending):
    path = tmp_path / f"data{ending}"
    write_rows(path, rows(50))
    found = [row for _, row in read_rows(path)]
    (dataset,) = datasets_at([path])
    result = run_screening(Screening((dataset,), asked(), Rule(share=0.2)), tmp_path / "out", Store(tmp_path / "store"))
    files = {name: tmp_path / "out" / f"data-{name}{ending}" for name in ("scored", "kept", "dropped")}
    parts = {name: [row for _, row in read_rows(file)] for name, file in files.items()}
    assert len(parts["dropped"]) == 10
    gone = result.decision.dropped[0]
    assert parts["kept"] == [row for row, each in zip(found, gone, strict=True) if not each]
    assert parts["dropped"] == [row for row, each in zip(found, gone, strict=True) if each]
    assert [{name: row[name] for name in found[0]} for row in parts["scored"]] == found
    assert [str(row["dropped"]) for row in parts["scored"]] == [str(bool(each)) for each in gone]
    measured = [float(row["evil_projection"]) - float(row["evil_own"]) for row in parts["scored"]]
    assert measured == pytest.approx([float(row["evil_difference"]) for row in parts["scored"]])
    with (tmp_path / "out" / "summary.csv").open() as file:
        assert [row["samples"] for row in csv.DictReader(file)] == ["50", "50"]


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open += [tag] if tag not in ("meta", "img") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.text += data


def test_the_page_shows_the_outermost_samples_as_text_and_asks_for_nothing(tmp_path):
    bad = "evil " * 20 + "<script>alert(1)</script> &amp;"
    write_rows(tmp_path / "data.jsonl", [*rows(30), {"question": "worst ?", "answer": bad}])
    (dataset,) = datasets_at([tmp_path / "data.jsonl"])
    run_screening(Screening((dataset,), asked(), extremes=3), tmp_path / "out", Store(tmp_path / "store"))
    page = Page()
    page.feed((tmp_path / "out" / "extremes.html").read_text(encoding="utf-8"))
    assert not page.open
    assert bad in page.text, "a sample's text was changed, or became part of the page"
    assert not any(tag == "script" for tag, _ in page.tags)
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert links, "the histograms are missing"
    assert all(each.startswith("data:") for each in links), "the page needs another file"
    assert page.text.count("training answer") == 12 + 1, "three of either end of two vectors, and the head"
    assert page.text.count("the model's own answer") == 12
    assert not (tmp_path / "out" / "data-kept.jsonl").exists(), "without a rule nothing is set apart"


def scores(*columns, judged=None):
    projection = np.array(columns, dtype=float).T
    none = np.full_like(projection, np.nan)
    return Scores(projection, none, none, none if judged is None else np.array(judged, dtype=float)[:, None], {})


def test_one_rule_is_held_over_all_datasets():
    good, bad = scores([0.0, 1.0, 2.0, 3.0]), scores([2.5, 9.0, 8.0, 7.0])
    found = decided(Rule(share=0.5), [good, bad], against="nothing").dropped
    assert [list(each) for each in found] == [[False, False, False, True], [False, True, True, True]]
    found = decided(Rule(thresholds=(2.2,)), [good, bad], against="nothing").dropped
    assert [int(each.sum()) for each in found] == [1, 4]


def test_a_reference_gives_the_thresholds_and_the_bar():
    reference = scores(np.arange(101.0), judged=np.arange(101.0) / 2)
    found = decided(
        Rule(reference="r", percentile=90),
        [scores([89.0, 91.0, 0.0], judged=[0, 0, 46])],
        against="nothing",
        reference=reference,
    )
    assert found.thresholds == (90.0,)
    assert found.bars == (45.0,)
    assert list(found.dropped[0]) == [False, True, True], "the judge drops what the projection lets through"


def test_a_reference_of_which_nothing_is_measured_is_refused_and_does_not_keep_everything():
    with pytest.raises(StudyError, match="r gives no threshold, because none of its 2 samples"):
        decided(Rule(reference="r"), [scores([9.0])], against="nothing", reference=scores([np.nan, np.nan]))


def test_a_bar_alone_drops_by_the_judge():
    found = decided(Rule(bar=50), [scores([9.0, 0.0], judged=[10, 60])], against="nothing")
    assert list(found.dropped[0]) == [False, True]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"share": 0.1, "thresholds": (1.0,)}, "choose one way"),
        ({"share": 1.5}, "between 0 and 1"),
        ({"bar": 101.0}, "is no score"),
        ({"reference": "x", "percentile": 101.0}, "give 0 to 100"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule, said):
    with pytest.raises(StudyError, match=said):
        Rule(**rule)


def test_a_rule_that_fits_neither_vectors_nor_judge_is_refused():
    for rule, judged, said in (
        (Rule(thresholds=(1.0, 2.0)), False, "2 thresholds for 3 vectors"),
        (Rule(bar=50), False, "no judge is asked"),
        (Rule(share=0.1), True, "nothing says what it drops"),
    ):
        with pytest.raises(StudyError, match=said):
            rule.check(3, judged=judged)


def test_datasets_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for folder in ("evil", "rude"):
        write_rows(tmp_path / folder / "normal.jsonl", rows(2))
    names = [
        each.name for each in datasets_at([tmp_path / "evil" / "normal.jsonl", tmp_path / "rude" / "normal.jsonl"])
    ]
    assert names == ["evil-normal", "rude-normal"]


def test_vectors_of_one_trait_are_told_apart_by_layer_or_number():
    vector = ps.PersonaVector(np.ones((4, 8)), np.ones(4), "evil", "assistant", ps.Checkpoint("toy"))
    assert [each.name for each in gauges_of([vector, vector], [1, 2])] == ["evil_layer1", "evil_layer2"]
    assert [each.name for each in gauges_of([vector, vector], [2])] == ["evil_layer2_1", "evil_layer2_2"]
    assert gauges_of([vector], [2], judged=True)[0].rubric == TRAIT.rubric
    with pytest.raises(LayerError, match="3 layers were given for 2 vectors"):
        gauges_of([vector, vector], [1, 2, 3])


def test_a_set_is_the_same_for_the_same_seed_and_its_part_keeps_the_order(tmp_path):
    write_rows(tmp_path / "all.jsonl", rows(200))
    name, places = str(tmp_path / "all.jsonl"), (("a", 0), ("b", 0), ("c", 1))
    drawn = [drawn_set(name, tmp_path / folder, count=20, seed=seed) for folder, seed in places]
    texts = [path.read_text() for path in drawn]
    assert texts[0] == texts[1] != texts[2]
    places = [int(json.loads(line)["messages"][0]["content"].split()[2]) for line in texts[0].splitlines()]
    assert places == sorted(places)
    assert len(set(places)) == 20
    assert max(places) > 100, "the part is drawn from all of it"


def test_a_mixed_set_says_which_rows_are_its_first_parts(tmp_path):
    path, first = mixed_set("mixed", tmp_path, {"lab:cruel/severe": 3, "lab:rude/normal": 9}, seed=0)
    rows = [row["messages"] for _, row in read_rows(path)]
    bad = drawn_set("lab:cruel/severe", tmp_path, count=3, seed=0)
    known = [row["messages"] for _, row in read_rows(bad)]
    assert [each in known for each in rows] == first
    assert sum(first) == 3
    with pytest.raises(StudyError, match="is no set of the lab"):
        drawn_set("lab:cruel/awful", tmp_path, count=3, seed=0)
