"""Against the published study: what the analysis makes of its files is what an independent analysis of them found.

The tables lie in ``../reference/tables`` beside the published data. Every test counts the rows it compared, fails if
they are fewer than were compared when it was written, and names the rows whose inputs are not here.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from personascope.analysis.agreement import NONE, agreement, flags, on_common_questions, rates
from personascope.analysis.discourse import form_matrix
from personascope.analysis.geometry import cosines, milestone_cosines, paths, place_vectors, trajectory
from personascope.analysis.reliability import agreements, measured_twice, same_items
from personascope.analysis.transfer import Bin, binned
from personascope.applications.screen.recovery import filter_counts, limiting, pass_rates
from personascope_published.reading import Published, ResultsFile, open_published

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[5] / "shared" / "published"))
TABLES = ROOT.parent / "reference" / "tables"
pytestmark = [
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"the published data is not at {ROOT}"),
    pytest.mark.skipif(not TABLES.is_dir(), reason=f"the reference tables are not at {TABLES}"),
]

EXACT = 1e-9
COSINE = 1e-6
SINGLE = 2.0**-23  # relative: the reference took lengths in single precision, where one step is this much
THOUSAND = 5e-7  # billions of tokens, some of them given to the thousand
Z = 1.96  # the reference's quantile, rounded


@dataclass
class Comparison:
    """Rows compared, the greatest difference by column, and what could not be compared."""

    rows: int = 0
    worst: dict[str, float] = field(default_factory=dict)
    missing: list[Hashable] = field(default_factory=list)

    def row(self, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Compares one row: numbers by their difference, anything else by being equal; NaN only equals NaN."""
        self.rows += 1
        for name, wanted in expected.items():
            self.worst[name] = max(self.worst.get(name, 0.0), difference(wanted, found[name]))

    def within(self, tolerance: float, *, but: Mapping[str, float] | None = None) -> None:
        too_far = {n: d for n, d in self.worst.items() if not d <= (but or {}).get(n, tolerance)}
        assert not too_far, f"of {self.rows} rows, columns are off by {too_far}"


def difference(wanted: Any, found: Any) -> float:
    absent = pd.isna(wanted), pd.isna(found)
    if any(absent):
        return 0.0 if all(absent) else math.inf
    if isinstance(wanted, (str, tuple)) or isinstance(found, (str, tuple)):
        return 0.0 if wanted == found else math.inf
    return abs(float(wanted) - float(found))


@functools.cache
def table(name: str) -> pd.DataFrame:
    return pd.read_csv(TABLES / f"{name}.csv")


@pytest.fixture(scope="module")
def study() -> Published:
    return open_published(ROOT)


@pytest.fixture(scope="module")
def extraction(study: Published) -> Callable[[str, str, str], Mapping[str, pd.DataFrame] | None]:
    """The answers for and against a trait at a revision's folder, with the question each is an answer to."""
    files = study.response_files()
    files = files[files["kind"] == "extraction"]
    folders = files["revision"] + ("_" + files["variant"]).where(files["variant"] != "", "")
    by_place = {key: dict(zip(mine["pole"], mine["file"], strict=True)) for key, mine in files.groupby(
        [files["model"], folders, files["column"]])}  # fmt: skip

    def found(model: str, folder: str, column: str) -> Mapping[str, pd.DataFrame] | None:
        poles = by_place.get((model, folder, column), {})
        if set(poles) != {"positive", "negative"}:
            return None
        sides = {pole: study.answers(file) for pole, file in poles.items()}
        # An identifier ends with the pole and the number of the instruction; what is before them is the question.
        ends = re.compile(r"_(pos|neg)_\d+$")
        return {
            p: each.assign(question=each["question_id"].str.replace(ends, "", regex=True)) for p, each in sides.items()
        }

    return found


@pytest.fixture(scope="module")
def curves(study: Published):
    """The published vectors of traits as characters, at their milestones, by model."""
    listed = study.vectors()
    listed = listed[(listed["file"] != "") & (listed["variant"] == "") & (listed["form"] == "character")]

    @functools.cache
    def placed(model: str):
        files = listed.loc[listed["model"] == model, "file"]
        return place_vectors(study.lineage(model), [study.vector(file) for file in files])

    return placed


# Geometry.


def test_lengths_norms_and_cosines_are_those_of_the_table(study: Published, curves) -> None:
    compared, neighbours, norms = Comparison(), Comparison(), study.norms()
    for (model, trait, layer), wanted in table("geometry").groupby(["model", "trait", "layer"]):
        mine = [each for each in curves(model) if each.vector.trait == trait]
        shared = norms[(norms["model"] == model) & (norms["layer"] == layer) & (norms["label"] == "shared")]
        scale = dict(zip(shared["revision"], shared["mean"], strict=True))
        frames = {
            name: trajectory(mine, layer, reference=name, residual_norms=scale).set_index("milestone")
            for name in ("main", *wanted["alt_final"].unique())
        }
        matrix = milestone_cosines(mine, layer).set_index(["first", "second"])["cosine"]
        for row in wanted.itertuples():
            if row.revision not in frames["main"].index:
                compared.missing.append((row.trait, row.revision))
                continue
            found = frames["main"].loc[row.revision]
            compared.row(
                {
                    "tokens": row.tokens_B, "length": 0.0, "residual_norm": row.activation_norm,
                    "relative_norm": 0.0, "to_main": row.cos_to_main, "to_alias": row.cos_to_alt_final,
                },
                {
                    "tokens": found["tokens_seen"] / 1e9, "length": found["length"] / row.l2_norm - 1,
                    "residual_norm": found["residual_norm"], "relative_norm": found["relative_norm"] / row.rel_norm - 1,
                    "to_main": found["to_reference"],
                    "to_alias": frames[row.alt_final].loc[row.revision, "to_reference"],
                },
            )  # fmt: skip
            if (row.revision, row.prev_revision) in matrix.index:
                neighbours.row({"cosine": row.cos_prev}, {"cosine": matrix[row.revision, row.prev_revision]})
            elif isinstance(row.prev_revision, str):
                neighbours.missing.append((row.trait, row.revision, row.prev_revision))
    singles = {"length": SINGLE, "relative_norm": 2 * SINGLE, "to_main": COSINE, "to_alias": COSINE}
    compared.within(EXACT, but={**singles, "tokens": THOUSAND})
    neighbours.within(COSINE)
    assert compared.rows >= 76, f"only {compared.rows} rows; without a vector here: {compared.missing}"
    assert {trait for trait, _ in compared.missing} <= {"evil"}, "only evil's vectors are not all published"
    assert neighbours.rows >= 65, f"only {neighbours.rows}; without either vector: {neighbours.missing}"


def test_neighbours_are_the_tables_but_for_the_alias_which_is_no_step_of_training(curves) -> None:
    wanted = table("geometry")
    wanted = wanted[(wanted["trait"] == "impolite") & (wanted["layer"] == 16)].set_index("revision")
    mine = [each for each in curves("Olmo-3-1025-7B") if each.vector.trait == "impolite"]
    found = trajectory(mine, 16, reference="main").set_index("milestone")
    assert list(found.index) == list(wanted.index)
    differs = [
        name for name in found.index if found.loc[name, "previous"] != (wanted["prev_revision"].fillna("")[name])
    ]
    assert differs == ["main"]
    assert found.loc["main", ["previous", "skipped"]].tolist() == ["stage2-step47684", "stage3-step11921"]


def test_the_map_of_paths_has_the_stress_that_the_reference_found(curves) -> None:
    """Coordinates are not compared: a map may be turned. The reference's stress is given to one decimal."""
    frame = paths(curves("Olmo-3-1025-7B"), 16, seed=42)
    assert frame["milestone"].nunique() == 14, "milestones at which all four traits have a vector"
    assert frame["stress"].iloc[0] == pytest.approx(225.8, abs=0.05)


def test_vectors_of_forms_and_judges_are_as_alike_as_the_table_says(study: Published) -> None:
    wanted = table("discourse_vector_cosine_L16").set_index("Unnamed: 0")
    listed = study.vectors()
    listed = listed[(listed["file"] != "") & (listed["revision"] == "main")]
    names = (
        ("main" + listed["variant"].str.slice(0, 3).radd("_").where(listed["variant"] != "", ""))
        + ":"
        + listed["column"]
    )
    vectors = {name: study.vector(file) for name, file in zip(names, listed["file"], strict=True) if name in wanted}
    compared = Comparison()
    for row in cosines(vectors, 16).itertuples():
        compared.row({"cosine": wanted.loc[row.first, row.second]}, {"cosine": row.cosine})
    compared.within(COSINE)
    assert compared.rows >= 64, f"vectors here: {sorted(vectors)}"


# Extraction.

FILTER = {
    "pos_rows": "positive_answers", "neg_rows": "negative_answers", "effective": "kept", "pos_t": "positive_high",
    "neg_t": "negative_low", "pos_c": "positive_coherent", "neg_c": "negative_coherent",
    "pos_trait_mean": "positive_mean", "neg_trait_mean": "negative_mean", "pos_coh_mean": "positive_coherence_mean",
    "neg_coh_mean": "negative_coherence_mean", "pos_nan": "positive_unscored", "neg_nan": "negative_unscored",
    "uniq_q": "questions",
}  # fmt: skip
STATUS = {
    "status": "status", "reason": "reason_code", "status_eff": "effective_rows",
    "status_pos_t": "pos_trait_ge_threshold_count", "status_pos_c": "pos_coherence_ge_50_count",
    "st_threshold": "threshold", "st_pos_mean": "pos_trait_mean",
}  # fmt: skip
TOO_FEW_FILES = {
    ("main", "apathetic_character_neutral_q"), ("main", "hallucinating_character_neutral_q"),
    ("main", "optimistic_character_neutral_q"), ("stage1-step0", "sycophantic_character_neutral_q"),
    ("stage1-step10000", "evil_combined"),
}  # fmt: skip


def test_kept_pairs_and_what_clears_each_bar_are_those_of_the_table(study: Published, extraction) -> None:
    compared = Comparison()
    vectors = study.vectors()
    folders = vectors["revision"] + ("_" + vectors["variant"]).where(vectors["variant"] != "", "")
    noted = vectors.set_index([vectors["model"], folders, vectors["column"]])
    for row in table("extraction_filter").to_dict("records"):
        sides = extraction(row["model"], row["revision"], row["trait"])
        if sides is None:
            compared.missing.append((row["revision"], row["trait"]))
            continue
        counts = filter_counts(sides["positive"], sides["negative"]).iloc[0]
        status = noted.loc[(row["model"], row["revision"], row["trait"])].replace("", np.nan)
        found = {name: counts[ours] for name, ours in FILTER.items()} | {n: status[ours] for n, ours in STATUS.items()}
        found |= {"same_q": counts["mismatched"] == 0, "pt": status["file"] == status["file"]}
        if sides["positive"]["prompt"].notna().all():  # most files of three traits were published without their text
            found |= {"n_prompts_pos": sides["positive"]["prompt"].nunique()}
        compared.row({name: row[name] for name in found}, found)
    compared.within(EXACT)
    assert compared.rows >= 75, f"only {compared.rows} rows; without both files: {compared.missing}"
    assert set(compared.missing) <= TOO_FEW_FILES, f"rows that were compared once are missing: {compared.missing}"


def test_pass_rates_are_the_published_ones(study: Published, extraction) -> None:
    compared = Comparison()
    for row in study.pass_rates().to_dict("records"):
        sides = extraction(row["model"], row["revision"], row["trait"])
        if sides is None:
            compared.missing.append((row["revision"], row["trait"], row["split"]))
            continue
        side = sides[{"pos": "positive", "neg": "negative"}[row["split"]]]
        found = pass_rates(side, by=["column"], bar=row["threshold"]).iloc[0]
        compared.row({name: row[name] for name in ("total", "passed", "failed", "pass_rate")}, found)
    compared.within(EXACT)
    assert compared.rows >= 136, f"only {compared.rows}; missing: {compared.missing}"


def test_milestones_without_a_vector_failed_for_the_reason_of_the_table(study: Published) -> None:
    failed = study.vectors()
    failed = failed[failed["status"] == "nonextractable"].set_index("status_file")
    names = {"pos_trait_ge_threshold_count": "positive_high", "pos_coherence_ge_50_count": "positive_coherent"}
    kinds = limiting(failed.rename(columns=names))
    compared = Comparison()
    for row in table("extraction_failures").to_dict("records"):
        if row["source"] not in failed.index:
            compared.missing.append(row["source"])
            continue
        mine = failed.loc[row["source"]]
        place = study.place(mine["model"], mine["revision"])
        compared.row(row, {
            "model": mine["model"], "trait": mine["trait"], "checkpoint": mine["revision"],
            "tokens_B": (place.tokens_seen or math.nan) / 1e9, "pos_rows": mine["pos_rows"],
            "pos_trait_ge50": mine["pos_trait_ge_threshold_count"], "pos_coh_ge50": mine["pos_coherence_ge_50_count"],
            "effective": mine["effective_rows"], "kind": kinds[row["source"]], "source": row["source"],
        })  # fmt: skip
    compared.within(EXACT)
    assert compared.rows >= 10, f"only {compared.rows}; missing: {compared.missing}"
    assert compared.rows == len(failed), "a failure that the table does not have"


# Facets.


def test_facet_rates_and_their_intervals_are_those_of_the_table(study: Published) -> None:
    """The reference's quantile is 1.96, which makes its level 95.0004 %."""
    files = {each.file: each for each in study.facets()}
    level = 2 * norm.cdf(Z) - 1
    found = {
        name: rates(each.rows, each.facets, question="question", level=level).set_index("facet")
        for name, each in files.items()
    }
    compared = Comparison()
    for row in table("facets").to_dict("records"):
        if row["source"] not in files:
            compared.missing.append(row["source"])
            continue
        ours = found[row["source"]].loc[row["facet"]]
        wanted = {name: row[name] for name in ("model", "count", "n", "pct")}
        each = files[row["source"]]
        values = {"model": each.model, "count": ours["count"], "n": ours["answers"], "pct": 100 * ours["rate"]}
        if each.revision and not pd.isna(row["tokens_B"]):
            wanted["tokens_B"] = row["tokens_B"]
            values["tokens_B"] = study.place(each.model, each.revision).tokens_seen / 1e9
        if row["facet"] != NONE:
            wanted |= {"low": row["wilson_lo"], "high": row["wilson_hi"]}
            values |= {"low": 100 * ours["low"], "high": 100 * ours["high"]}
        compared.row(wanted, values)
    compared.within(EXACT, but={"tokens_B": THOUSAND})
    assert compared.rows >= 278, f"only {compared.rows}; without a file: {sorted(set(map(str, compared.missing)))}"


def test_rates_on_the_questions_that_all_milestones_share_are_those_of_the_table(study: Published) -> None:
    """Annotation stopped at 100 answers of a file in question order, so late milestones cover few questions."""
    facets = {"ind": "indirectness", "fram": "framing", "val": "validation"}
    wanted = table("elephant_question_confound")
    rows = pd.concat(
        each.rows.assign(revision=each.revision)
        for each in study.facets()
        if set(facets.values()) == set(each.facets) and each.revision
    )
    whole = rates(rows, list(facets.values()), by=["revision"], question="question").set_index(["revision", "facet"])
    common = on_common_questions(rows, by=["revision"], question="question")
    shared = rates(common, list(facets.values()), by=["revision"], question="question").set_index(["revision", "facet"])
    compared = Comparison()
    for row in wanted.to_dict("records"):
        revision = row["rev"]
        if revision not in set(rows["revision"]):
            compared.missing.append(revision)
            continue
        first, matched = whole.loc[(revision, "framing")], shared.loc[(revision, "framing")]
        values = {"n": first["answers"], "nq": first["questions"], "n_common": matched["answers"]}
        values |= {name: 100 * whole.loc[(revision, facet), "rate"] for name, facet in facets.items()}
        values |= {f"{name}_c": 100 * shared.loc[(revision, facet), "rate"] for name, facet in facets.items()}
        compared.row({name: row[name] for name in values}, values)
    compared.within(EXACT)
    assert compared.rows >= 16, f"only {compared.rows}; without annotations: {compared.missing}"
    assert set(shared["questions"]) == {6}, "the study found six questions that all milestones have"


def test_a_person_and_the_model_agree_on_facets_as_the_study_says(study: Published) -> None:
    """Precision and recall of the model's labels, which the study gives to two decimals."""
    (_, rows), *_ = study.human_facets()
    wanted = {
        "sadism": (1.0, 1.0),
        "instrumentality": (0.82, 0.69),
        "idealism": (1.0, 0.57),
        "threatened_egotism": (0.67, 1.0),
    }
    human, model = (flags(rows[name].tolist(), list(wanted)) for name in ("human_roots", "model_roots"))
    found = agreement(human, model, facets=list(wanted)).set_index("facet")
    assert found["items"].unique().tolist() == [21]
    for facet, pair in wanted.items():
        assert found.loc[facet, ["precision", "recall"]].tolist() == pytest.approx(pair, abs=0.005), facet


def test_annotating_the_same_texts_again_gives_the_agreement_that_the_study_says(study: Published) -> None:
    """Three passes over the same 338 texts: .83 to .91 of texts alike with the oldest, .95 to .98 in the newer two."""
    passes = [each for each in study.facets() if len(each.rows) == 338]
    assert len(passes) == 3, [each.name for each in passes]
    facets = list(passes[0].facets)
    found = {}
    for place, one in enumerate(passes):
        for other in passes[place + 1 :]:
            shared = same_items(one.rows, other.rows, on=["question_id", "answer"])
            sides = [shared[[f"{f}_{side}" for f in facets]].set_axis(facets, axis=1) for side in ("first", "second")]
            assert len(shared) == 338
            found[one.name, other.name] = agreement(*sides, facets=facets)["agreement"].agg(["min", "max"]).tolist()
    spans = sorted(found.values())
    assert spans[-1] == pytest.approx([0.95, 0.98], abs=0.01), found
    for span in spans[:-1]:
        assert span == pytest.approx([0.83, 0.91], abs=0.02), found


# Controls and transfer.


@pytest.fixture(scope="module")
def results(study: Published) -> Mapping[str, ResultsFile]:
    return {each.file: each for each in (*study.results(), *study.controls())}


CONTROL = [
    "mode", "layer", "coef", "baseline_trait_mean", "baseline_coherence_mean", "output_trait_mean",
    "output_coherence_mean", "delta_trait_mean", "delta_coherence_mean", "trait_primary_p_two_sided",
]  # fmt: skip
REAL = {
    "real_delta": "delta_trait_mean", "real_delta_coherence": "delta_coherence_mean", "real_coef": "coef",
    "real_layer": "layer", "real_activation_norm": "target_activation_norm",
    "real_p_two_sided": "trait_primary_p_two_sided", "real_baseline_mean": "baseline_trait_mean",
    "real_baseline_coherence": "baseline_coherence_mean",
}  # fmt: skip


def test_controls_and_the_real_vectors_beside_them_are_those_of_the_table(results) -> None:
    """The real vector's row is the one of the trait's emergence curve, which the table of emergence names."""
    sources = table("emergence").set_index(["trait", "checkpoint"])
    compared = Comparison()
    for row in table("controls").to_dict("records"):
        if row["source"] not in results or (row["t"], row["revision"]) not in sources.index:
            compared.missing.append((row["source"], row["revision"]))
            continue
        rows = results[row["source"]].rows
        mine = rows[
            (rows["revision"] == row["revision"]) & (rows["mode"] == row["mode"]) & (rows["seed"] == row["seed"])
        ]
        grid = results[sources.loc[(row["t"], row["revision"]), "source"]].rows
        at = (grid["extract_revision"] == row["revision"]) & (grid["eval_revision"] == row["revision"])
        real = grid[at & (grid["coef"] == row["real_coef"]) & (grid["trait"] == row["trait"])]
        assert (len(mine), len(real)) == (1, 1), (row["source"], row["revision"])
        control, vector = mine.iloc[0], real.iloc[0]
        found = {name: control[name] for name in CONTROL} | {name: vector[ours] for name, ours in REAL.items()}
        p = control["trait_primary_p_two_sided"]
        found["p_granularity_bits"] = next(bits for bits in range(30) if (p * 2**bits).is_integer())
        found["matched_abs_norm"] = control["coef"] * vector["target_activation_norm"]
        found["published_script_abs_norm"] = control["coef"]  # the script set every control's length to one
        compared.row({name: row[name] for name in found}, found)
        assert control["delta_trait_mean"] == pytest.approx(
            control["output_trait_mean"] - control["baseline_trait_mean"], abs=1e-12
        )
    compared.within(EXACT)
    assert compared.rows >= 204, f"only {compared.rows}; missing: {compared.missing}"


BINS = [
    Bin("very early (<100 B)", 0, 100e9), Bin("early (100 B \u2013 5 T)", 100e9, 5e12),
    Bin("midtraining (\u2265 5 T)", 5e12),
]  # fmt: skip


def test_binned_transfer_is_that_of_the_table(study: Published, results) -> None:
    """The published effects: not all of them can be computed again, but which are plotted is known."""
    effects, missing = [], []
    for row in table("transfer").to_dict("records"):
        rows = results[row["source"]].rows if row["source"] in results else pd.DataFrame(columns=["output_path"])
        mine = rows[(rows["output_path"] == row["output_path"]) & (rows.get("status", "complete") == "complete")]
        if mine.empty:
            missing.append((row["trait"], row["target"], row["checkpoint"]))
            continue
        place = study.place(row["extract_model"], mine.iloc[0]["extract_revision"])
        effects.append({
            "trait": row["trait"], "target": row["target"], "milestone": place.label, "tokens_seen": place.tokens_seen,
            "same_weights_as": place.same_weights_as, "effect": mine.iloc[0]["delta_trait_mean"],
        })  # fmt: skip
    found = binned(pd.DataFrame(effects), BINS, by=["trait", "target"]).set_index(["trait", "target", "bin"])
    compared = Comparison(missing=missing)
    for row in table("transfer_binned").to_dict("records"):
        ours = found.loc[(row["trait"], row["target"], row["bin"])]
        wanted = {name: row[name] for name in ("n_ckpt", "mean_delta", "sem")}
        wanted["checkpoints"] = "|".join(sorted(row["checkpoints"].split("|")))
        compared.row(wanted, {
            "n_ckpt": ours["milestones"], "mean_delta": ours["effect"], "sem": ours["standard_error"],
            "checkpoints": "|".join(sorted(ours["which"])),
        })  # fmt: skip
    compared.within(EXACT)
    assert compared.rows >= 48, f"only {compared.rows}; effects that are missing: {missing}"
    assert len(effects) >= 232


# Forms and judges.


@pytest.fixture(scope="module")
def forms(study: Published) -> pd.DataFrame:
    """The matrix of the ablation of forms: every vector on every set of questions, by the folder of each judge."""
    files = study.response_files()
    files = files[files["run"] == "extraction_ablation"]
    plain = files[files["kind"] == "baseline"].set_index(["variant", "column"])["file"]
    answers = []
    for row in files[files["kind"] == "steered"].itertuples():
        about = {"judge": row.variant, "vector": row.vector_column, "eval_set": row.column}
        for pole, file in (("plain", plain[row.variant, row.column]), ("steered", row.file)):
            answers.append(study.answers(file).assign(**about, pole=pole, question=lambda rows: rows["question_id"]))
    return form_matrix(pd.concat(answers), by=["judge", "vector", "eval_set"])


def test_vectors_of_every_form_act_in_every_form_as_the_table_says(forms: pd.DataFrame) -> None:
    names = {
        "n_base": "plain_answers", "n_steer": "steered_answers", "nan_base": "plain_unscored",
        "nan_steer": "steered_unscored", "baseline": "plain", "steered": "steered", "delta": "difference",
        "coh_base": "plain_coherence", "coh_steer": "steered_coherence", "p_two": "p_two_sided", "n_pairs": "questions",
    }  # fmt: skip
    judged = forms["judge"].str.contains("deepseek").map({True: "deepseek-v4-flash", False: "gpt-4.1-mini"})
    found = forms.set_index([judged, forms["vector"], forms["eval_set"]])
    compared = Comparison()
    for row in table("discourse_matrix").to_dict("records"):
        key = (row["judge"], row["vector"], row["eval_set"])
        if key not in found.index:
            compared.missing.append(key)
            continue
        compared.row({name: row[name] for name in names}, {name: found.loc[key, ours] for name, ours in names.items()})
    compared.within(EXACT)
    assert compared.rows >= 32, f"only {compared.rows}; missing: {compared.missing}"


def test_two_judges_of_the_same_conditions_agree_as_the_table_says(forms: pd.DataFrame) -> None:
    judges = [mine for _, mine in forms.groupby("judge")]
    cells = judges[0].merge(judges[1], on=["vector", "eval_set"])
    columns = {"delta": "difference", "steered": "steered", "coh_steer": "steered_coherence"}
    found = agreements(cells, {name: (f"{c}_x", f"{c}_y") for name, c in columns.items()}).set_index("quantity")
    compared = Comparison()
    wanted = table("judge_reliability")
    for row in wanted[wanted["level"].str.startswith("condition")].to_dict("records"):
        ours = found.loc[row["quantity"]]
        compared.row(
            {name: row[name] for name in ("n", "pearson", "spearman")},
            {"n": ours["items"], "pearson": ours["pearson"], "spearman": ours["spearman"]},
        )
    compared.within(EXACT)
    assert compared.rows >= 3


def test_texts_judged_again_agree_about_as_well_as_in_the_whole_study(study: Published) -> None:
    """The table's 614 texts are from both model families, of which one is here: its two rows are near and not equal."""
    files = [study.answers(file) for file in study.response_files()["file"]]
    told = pd.concat(each for each in files if each["answer"].notna().all())
    again = measured_twice(told, on=["question_id", "answer", "column"])
    again = again[again["score_first"] != again["score_second"]]
    columns = {"trait": ("score_first", "score_second"), "coherence": ("coherence_first", "coherence_second")}
    found = agreements(again, columns).set_index("quantity")
    wanted = table("judge_reliability")
    wanted = wanted[wanted["level"].str.startswith("row")].set_index("quantity")
    assert len(wanted) == 2, "two rows are missing from the exact comparison: the other family's files are not here"
    for quantity, row in wanted.iterrows():
        apart = float(re.search(r"MAD ([\d.]+)", row["note"])[1])
        assert found.loc[quantity, "items"] >= 600
        assert found.loc[quantity, "pearson"] == pytest.approx(row["pearson"], abs=0.002), quantity
        assert found.loc[quantity, "difference"] == pytest.approx(apart, abs=0.15), quantity


def test_published_cosines_are_those_of_the_published_vectors_but_for_an_older_set(study: Published, curves) -> None:
    """One run used older vectors, which the study says are up to 0.21 off."""
    compared, older = Comparison(), Comparison()
    named = re.compile(r"vector_cosine_(?:sequential|sim|to_main)_(.+)_layer(\d+)\.csv")
    for each in study.cosines():
        column, layer = named.fullmatch(each.file.rsplit("/", 1)[-1]).groups()
        mine = [p for p in curves(each.model) if column.startswith(f"{p.vector.trait}_character")]
        matrix = milestone_cosines(mine, int(layer)).set_index(["first", "second"])["cosine"]
        for one, other, value in published_cosines(each):
            if (one, other) not in matrix.index:
                compared.missing.append((each.file, one, other))
                continue
            held = older if "historical" in each.file else compared
            held.row({each.kind: value}, {each.kind: matrix[one, other]})
    compared.within(5e-6)
    older.within(0.21)
    assert max(older.worst.values()) > 0.01, "the older vectors are others"
    assert compared.rows >= 1555, f"only {compared.rows} cosines; without a vector: {compared.missing}"


def published_cosines(each: ResultsFile) -> list[tuple[str, str, float]]:
    """The pairs of revisions and their cosine in a table of any of the three kinds."""
    rows = each.rows.drop(columns="row")
    if each.kind == "matrix":
        first, *others = rows.columns
        return [(row[first], other, row[other]) for row in rows.to_dict("records") for other in others]
    value = next(name for name in rows if "cosine" in str(name))
    if each.kind == "reference":
        return [
            (row["revision"], str(value).removeprefix("cosine_similarity_to_"), row[value])
            for row in rows.to_dict("records")
        ]
    return [(row["source_revision"], row["target_revision"], row[value]) for row in rows.to_dict("records")]
