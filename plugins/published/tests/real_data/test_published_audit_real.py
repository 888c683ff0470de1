"""The audit of the published study: every anomaly that the tracing study lists and the data at hand hold is found.

The files lie in ``../shared/published`` beside the repository, or where ``PERSONASCOPE_PUBLISHED`` says; the tables to
compare with in ``../reference/tables`` beside them. The rows compared are counted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pandas as pd
import pytest

from personascope_published.audit import FAMILIES, Audit
from personascope_published.audits import (
    aliases,
    annotations,
    controls,
    counts,
    designs,
    duplicates,
    facets,
    families,
    geometry,
    judging,
    leaks,
    norm_files,
    norms,
    pairs,
    records,
)
from personascope_published.audits.evidence import Evidence
from personascope_published.audits.findings import Finding
from personascope_published.audits.rows import ITSELF
from personascope_published.reading import open_published

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[5] / "shared" / "published"))
TABLES = ROOT.parent / "reference" / "tables"
pytestmark = [
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"the published data is not at {ROOT}"),
    pytest.mark.skipif(not TABLES.is_dir(), reason=f"the reference tables are not at {TABLES}"),
]

TRAITS = ("evil", "humorous", "impolite", "sycophantic")
MODEL = "Olmo-3-1025-7B"


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence(open_published(ROOT))


@pytest.fixture(scope="module")
def audited(evidence: Evidence) -> Audit:
    began = time.process_time()
    findings = tuple(finding for family in FAMILIES for finding in family(evidence))
    taken = time.process_time() - began
    assert taken < 45, f"the audit took {taken:.0f} CPU seconds: half of what it may take"
    return Audit(findings)


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(TABLES / f"{name}.csv")


def only(audited: Audit, kind: str) -> Finding:
    mine = audited.of(kind)
    assert len(mine) == 1, f"{kind!r} was found {len(mine)} times"
    return mine[0]


def column(trait: str) -> str:
    return f"{trait}_character_neutral_q"


# Prompt tails (D1, fact 5).


def test_every_file_has_the_prompt_tails_of_the_reference(evidence):
    mine = evidence.survey[evidence.survey["text"]].merge(
        table("prompt_tail_leak_by_file"), left_on="file", right_on="path", suffixes=("", "_there")
    )
    assert len(mine) >= 523, f"only {len(mine)} files with texts were compared"
    assert (mine["rows"] == mine["rows_there"]).all()
    assert (mine["question_tails"] == mine["leaked"]).all()
    assert (mine["question_tail_characters"] - mine["mean_leak_chars"]).abs().max() <= 1e-9


def test_the_chat_residue_and_its_scores_are_those_of_the_reference(audited):
    rows = [each for finding in audited.of(leaks.NAME) for each in finding.details]
    rates = {each["file"].split("/eval/")[1]: each for each in rows if "rate" in each}
    scores = {(each["file"], each["row"]): each for each in rows if "effect" in each}
    compared = 0
    for wanted in table("baseline_leak_effect").itertuples():
        if wanted.file not in rates:
            continue
        compared += 1
        assert (rates[wanted.file]["rows"], rates[wanted.file]["tails"]) == (wanted.n, wanted.leaked)
        model = wanted.file.split("/")[0]
        mine = next(each for each in scores.values() if (each["trait"], each["model"]) == (wanted.trait, model))
        names = {
            "t_leak": "leaked_score",
            "t_clean": "clean_score",
            "c_leak": "leaked_coherence",
            "c_clean": "clean_coherence",
        }
        for there, here in names.items():
            assert mine[here] == pytest.approx(getattr(wanted, there), abs=1e-9), f"{there} of {wanted.file}"
    assert compared >= 12, f"only {compared} baselines were compared"
    numbers = [finding.numbers for finding in audited.of(leaks.NAME)]
    assert sum(each["leaked"] for each in numbers) / sum(each["rows"] for each in numbers) > 0.59
    assert {each["steered_leaked"] for each in numbers} == {0}
    for finding in audited.of(leaks.NAME):
        p_values = [(each["p"], each["p_after"]) for each in finding.details if each.get("p_after") is not None]
        lost = sum(before < 0.05 <= after for before, after in p_values)
        won = sum(after < 0.05 <= before for before, after in p_values)
        assert [finding.numbers[f"significance_{name}"] for name in ("lost", "won")] == [lost, won]
    assert [sum(each[f"significance_{name}"] for each in numbers) for name in ("lost", "won")] == [64, 21]
    assert sum(each["redone"] for each in numbers) == 84 + 42 + 48 + 18


# Rows counted twice (D2, fact 2).


def test_the_sixteen_cells_of_340_rows_are_found_with_what_counting_once_gives(audited):
    finding = only(audited, duplicates.TWICE.name)
    wanted = table("emergence").dropna(subset=["dedup_n"]).set_index("checkpoint")
    found = {each["source"]: each for each in finding.details}
    assert len(found) == len(wanted) == 16
    for checkpoint, row in wanted.iterrows():
        mine = found[checkpoint]
        assert (mine["recorded_rows"], mine["rows_once"], sorted(mine["composition"].values())) == (340, 200, [1, 2])
        for here, there in (
            ("effect", "delta"),
            ("p", "p_two_sided"),
            ("effect_once", "dedup_delta"),
            ("p_once", "dedup_p_two_sided"),
            ("effect_own", "orig60_delta"),
            ("p_own", "orig60_p"),
        ):
            assert mine[here] == pytest.approx(row[there], abs=1e-12), f"{here} at {checkpoint}"
    assert finding.numbers["least_change"] == pytest.approx(-1.657, abs=1e-3)
    assert finding.numbers["greatest_change"] == pytest.approx(1.140, abs=1e-3)
    assert finding.numbers["crossing"] == 0


# Few pairs (D13, fact 6).


def test_the_pairs_behind_every_vector_are_those_of_the_reference(evidence):
    wanted = table("extraction_filter")
    wanted = wanted[wanted["model"] == MODEL]
    mine = evidence.pairs.assign(
        revision=[
            f"{r}_{v}" if v else r for r, v in zip(evidence.pairs["revision"], evidence.pairs["variant"], strict=True)
        ]
    ).merge(wanted, left_on=["revision", "column"], right_on=["revision", "trait"])
    assert len(mine) >= 75, f"only {len(mine)} extractions were compared"
    assert (mine["kept"] == mine["effective"]).all()
    assert (mine["passed"] == mine["pos_t"]).all()


def test_first_vectors_are_from_two_to_six_pairs_with_their_cosines(audited):
    found = {
        each.details[0]["vector_file"].rsplit("/", 1)[1].split("_")[0]: each for each in audited.of(pairs.FEW.name)
    }
    assert {trait: each.numbers["least"] for trait, each in found.items()} == {
        "evil": 6, "humorous": 2, "impolite": 3, "sycophantic": 2,
    }  # fmt: skip
    cosines = {trait: each.numbers["first_cosine"] for trait, each in found.items() if trait != "humorous"}
    assert cosines == pytest.approx({"evil": 0.170, "impolite": 0.084, "sycophantic": 0.003}, abs=6e-4)
    humorous = [each for each in found["humorous"].details if each["pairs"] == 2]
    assert [each["revision"] for each in humorous] == ["stage1-step5000", "stage1-step7000", "stage1-step10000"]
    effects = {(row.trait, row.checkpoint): row.delta for row in table("emergence").itertuples()}
    compared = 0
    for trait, finding in found.items():
        for each in finding.details:
            assert each["effect"] == pytest.approx(effects[(trait, each["revision"])], abs=1e-12)
            compared += 1
    assert compared >= 14
    assert found["sycophantic"].numbers["first_effect"] == pytest.approx(12.1, abs=0.05)


def test_the_milestones_without_a_vector_are_those_of_the_reference(audited):
    wanted = table("extraction_failures")
    finding = only(audited, pairs.NONE.name)
    assert {(each["column"], each["revision"]) for each in finding.details} == {
        (column(row.trait), row.checkpoint) for row in wanted.itertuples()
    }
    silent = only(audited, pairs.UNCOUNTED.name)
    assert [silent.numbers[name] for name in ("unrecorded", "silent")] == [69, 16]
    drawn_again = only(audited, counts.OTHER.name)
    assert {(each["revision"], each["pos_rows"], each["asked"]) for each in drawn_again.details} == {
        ("stage1-step1000", 400, 1000)
    }
    assert drawn_again.numbers["pass_rates_compared"] == 136
    assert drawn_again.numbers["pass_rates"] == 0
    assert only(audited, counts.LOOSE.name).numbers["cells"] == 28
    assert {each["revision"] for each in only(audited, counts.SIZES.name).details} == {"main", "stage1-step1000"}


# Norms (D6, section 1.6).


def test_the_target_norms_of_48_of_131_rows_are_not_those_of_the_files(audited):
    diagonals = [
        each for each in audited.of(norms.STALE.name) if "diag" in each.where[0] and "target_rows" in each.numbers
    ]
    assert sum(each.numbers["target_rows"] for each in diagonals) == 48
    assert sum(each.numbers["rows"] for each in diagonals) == 131
    assert [each.numbers["points_of_curves"] for each in diagonals] == [13, 13, 13]
    first = diagonals[0].details[0]
    assert (first["target_norm"], first["target_now"]) == (306.6, 304.0)
    recorded = {(row.trait, row.checkpoint): row.activation_norm for row in table("emergence").itertuples()}
    compared = 0
    for finding in diagonals:
        for each in finding.details:
            if each["strength"] == 0.5 and each["source"] == each["evaluated"] and each["target_off"]:
                trait = finding.where[0].split("/")[-2].split("_")[0]
                assert each["target_norm"] == pytest.approx(recorded[(trait, each["source"])], abs=1e-9)
                compared += 1
    assert compared >= 39


def test_norms_mixed_within_curves_and_cells_are_found(audited):
    mixed = only(audited, norms.MIXED.name)
    norms_by_target = {}
    for each in mixed.details:
        norms_by_target.setdefault(each["target"], set()).add(each["target_norm"])
    assert norms_by_target["Olmo-3-7B-Instruct"] == {17.25625, 16.103125}
    assert {each["target"]: 0 for each in mixed.details}.keys() == {
        "Olmo-3-7B-Instruct", "Olmo-3-7B-Instruct-DPO", "Olmo-3-7B-Instruct-SFT",
    }  # fmt: skip
    pooled = only(audited, norms.POOLED.name)
    first = next(each for each in pooled.details if each["source"] == "stage1-step3000")
    assert pooled.numbers["cells"] == 16
    assert (first["own"], first["companion"]) == (306.6, 304.0)
    rival = only(audited, norms.RIVAL.name)
    assert [rival.numbers[name] for name in ("files", "with_lists")] == [13, 102]
    labels = next(each for each in audited.of(norm_files.LABELS.name) if MODEL in each.what)
    assert labels.numbers["revisions"] == 15


# Controls (D4, D5, fact 4).


def test_controls_look_like_no_intervention(audited):
    wanted = table("controls")
    idle = only(audited, controls.IDLE.name)
    assert idle.numbers["rows"] == len(wanted) == 204
    assert idle.numbers["below"] == int((wanted["trait_primary_p_two_sided"] < 0.05).sum()) == 9
    assert idle.numbers["ks_p"] > 0.8
    assert idle.numbers["mean_coherence_change"] == pytest.approx(wanted["delta_coherence_mean"].mean(), abs=1e-9)
    matched = wanted[wanted["coef"] == wanted["real_coef"]]
    assert idle.numbers["pushed"] == len(matched)
    assert idle.numbers["real"] == pytest.approx(matched["real_delta_coherence"].mean(), abs=1e-9)
    assert idle.numbers["matched_least"] == pytest.approx(matched["matched_abs_norm"].min(), abs=1e-9)
    assert idle.numbers["matched_greatest"] == pytest.approx(matched["matched_abs_norm"].max(), abs=1e-9)
    strength = only(audited, controls.STRENGTH.name)
    assert strength.numbers["rows"] == int((wanted["coef"] != wanted["real_coef"]).sum()) == 90
    assert only(audited, controls.SEEDS.name).numbers["seeds"] == 3
    assert only(audited, controls.ABSENT.name).numbers["rows"] == 204, "no answer of a control is published"
    far = only(audited, controls.BASELINE.name)
    cells = [each for each in far.details if each["errors"] > controls.FAR]
    assert {(each["run"].split("_")[0], each["revision"]) for each in cells} == {("evil", "main"), ("impolite", "main")}


# Overwritten and missing files (D7, section 2.5).


def test_overwritten_and_missing_files_are_those_of_the_reference(audited):
    verdicts = table("verification_by_run").set_index("file")
    here = {file for file in verdicts.index if (ROOT / file).is_file()}
    assert len(here) >= 12
    found = {kind: {} for kind in ("baseline_mismatch", "steered_missing")}
    for each in audited.of(records.OVERWRITTEN.name):
        found["baseline_mismatch"][each.details[0]["file"]] = each.numbers["rows"]
    for each in audited.of(records.MISSING.name):
        if each.numbers["without"]:
            found["steered_missing"][each.where[0].split(" rows")[0]] = each.numbers["without"]
    for kind, files in found.items():
        wanted = verdicts.loc[sorted(here), kind]
        assert files == wanted[wanted > 0].to_dict(), kind
    replaced = only(audited, records.REPLACED.name)
    assert [(each["row"], each["recorded"]) for each in replaced.details] == [(44, pytest.approx(24.771, abs=1e-3))]
    unjudged = only(audited, records.UNJUDGED.name)
    assert [unjudged.numbers[name] for name in ("rows", "of")] == [94, 163]
    assert not audited.of(records.CONSTANT.name), "the placeholders are of the other model"


def test_the_rows_of_overwritten_baselines_have_p_values_of_the_present_ones(audited):
    """Not in the tracing study: their means and effects are of old baselines, their p-values of the present files."""
    finding = only(audited, records.OVERWRITTEN.name)
    assert [finding.numbers[name] for name in ("rows", "of", "tested_on_present")] == [44, 57, 44]
    for each in finding.details:
        assert each["p_now"] == pytest.approx(each["p"], abs=1e-15)
        assert each["effect_now"] == pytest.approx(each["tested_effect"], abs=1e-12)
    moved = [each["effect_now"] - each["effect"] for each in finding.details if "/main/" in each["baseline_file"]]
    assert len(moved) == 35
    assert moved[:-1] == pytest.approx([4.689224317418622] * 34, abs=1e-9)


# Corrections (D34).


def test_families_and_effects_of_no_size_are_those_of_the_reference(audited):
    family = only(audited, families.FAMILY.name)
    used = {each["file"]: set(each["used"]) for each in family.details}
    wanted: dict[str, set[float]] = {}
    for name in ("emergence", "transfer"):
        for row in table(name)[["source", "bonferroni_k"]].drop_duplicates().itertuples():
            wanted.setdefault(row.source, set()).add(float(row.bonferroni_k))
    inherited = [each["file"] for each in family.details if each["inherited_rows"]]
    assert len(inherited) == 1
    assert "evil_transfer_to_instruct_targets_dense" in inherited[0]
    assert used[inherited[0]] == {28.0}
    compared = [file for file in wanted if file in used and file not in inherited]
    assert len(compared) >= 10
    for file in compared:
        assert used[file] == wanted[file], file
    small = only(audited, families.SMALL.name)
    transfer = table("transfer")
    transfer = transfer[(transfer["p_two_sided"] < 0.05) & (transfer["delta"].abs() < 1)]
    assert sorted(each["effect"] for each in small.details) == pytest.approx(sorted(transfer["delta"]), abs=1e-12)
    assert small.numbers["small"] == 14
    raw = only(audited, families.RAW.name)
    assert [raw.numbers[name] for name in ("points", "raw", "holm")] == [340, 245, 201]
    assert [family.numbers[name] for name in ("by_holm", "by_table", "changed")] == [201, 167, 34]


def test_points_of_the_emergence_curves_are_those_of_the_figure(evidence):
    points = families.curve_points(evidence)
    own = points[(points["target"] == ITSELF)]
    wanted = table("emergence")
    wanted = wanted[wanted["in_figure"]]
    keys = set(zip(own["trait"], own["source"], strict=True))
    assert keys == {(column(row.trait), row.checkpoint) for row in wanted.itertuples()}
    raw = own[own["p"] < 0.05].groupby("trait").size()
    assert raw.to_dict() == dict(zip(map(column, TRAITS), (15, 7, 15, 11), strict=True))


# Facets (D25).


def test_facets_were_sampled_from_the_questions_of_the_reference(audited):
    finding = only(audited, facets.FEW.name)
    found = {each["revision"]: each for each in finding.details if "annotated" in each and "revision" in each}
    wanted = table("elephant_question_confound")
    wanted = wanted[wanted["model"] == MODEL]
    assert len(wanted) == len(found) == 16
    for row in wanted.itertuples():
        mine = found[row.rev]
        assert (mine["annotated"], mine["questions"], mine["common_answers"]) == (row.n, row.nq, row.n_common)
        for name, here in (("ind", "indirectness"), ("fram", "framing"), ("val", "validation")):
            assert mine[here] == pytest.approx(getattr(row, name), abs=1e-9)
            assert mine[f"{here}_common"] == pytest.approx(getattr(row, f"{name}_c"), abs=1e-9)
    assert [finding.numbers[name] for name in ("cut_at", "cut_files", "first_rows_of_source")] == [100, 15, 15]
    assert only(audited, facets.TINY.name).numbers["least"] == 17
    assert only(audited, annotations.HUMAN.name).numbers["answers"] == 21
    assert only(audited, annotations.AGAIN.name).numbers["sets"] == 3
    assert only(audited, annotations.INCOHERENT.name).numbers["incoherent"] == 1402


# Aliases (D27), judges (D20), sets (D33), grids (D12).


def test_the_alias_is_found_with_the_noise_it_measures(audited):
    alias = only(audited, aliases.ALIAS.name)
    assert "stage3-step11921 and main" in alias.what
    cosines = {(each["vector"], each["layer"]): each["cosine"] for each in alias.details if "cosine" in each}
    wanted = {"evil": 0.996, "sycophantic": 0.977, "impolite": 0.975}
    for trait, cosine in wanted.items():
        assert cosines[(column(trait), 16)] == pytest.approx(cosine, abs=6e-4)
    geometry_table = table("geometry")
    alias_rows = geometry_table[geometry_table["revision"] == "stage3-step11921"]
    compared = 0
    for row in alias_rows.itertuples():
        if (column(row.trait), row.layer) in cosines:
            assert cosines[(column(row.trait), row.layer)] == pytest.approx(row.cos_to_main, abs=1e-6)
            compared += 1
    assert compared >= 4
    assert alias.numbers["curves"] == 20


def test_the_evil_noise_ceiling_shares_one_side_of_its_answers(audited):
    """Not in the tracing study: the 400 positive answers of main and of its alias are the same texts."""
    ceiling = only(audited, aliases.CEILING.name)
    assert ceiling.numbers["rows"] == 400
    assert ceiling.numbers["cosine"] == pytest.approx(0.9964, abs=1e-4)
    copied = only(audited, aliases.COPIED.name)
    assert copied.numbers["pairs"] == 6


def test_unscored_answers_sets_and_grids_are_found(audited):
    unscored = only(audited, judging.UNSCORED.name)
    assert [unscored.numbers[name] for name in ("most", "most_of")] == [34, 200]
    assert only(audited, designs.COMBINED.name).numbers["questions"] == 20
    assert only(audited, designs.QUESTIONS.name).numbers["vectors"] == 4
    assert only(audited, designs.SIZES.name).numbers["greatest"] == 2000
    assert not audited.of(designs.DATES.name), "the dated prompts are of the other model"
    grid = only(audited, geometry.GRID.name)
    assert [grid.numbers[name] for name in ("vectors", "of")] == [69, 69]
    assert grid.numbers["least_coarse"] > 0.99


def test_published_cosines_of_other_vectors_are_those_of_layer_18(audited):
    finding = only(audited, geometry.COSINES.name)
    assert {file.rsplit("_", 1)[1] for file in finding.where} == {"layer18.csv"}
    assert finding.numbers["tables"] == 3
    assert finding.numbers["largest"] == pytest.approx(0.207, abs=1e-3)
    assert finding.numbers["compared"] >= 945


def test_coherence_is_lost_with_the_effect_as_in_the_reference(audited):
    emergence = {(row.trait, row.checkpoint): row.delta_coherence for row in table("emergence").itertuples()}
    rows = [each for finding in audited.of(judging.COHERENCE.name) for each in finding.details]
    compared = 0
    for each in rows:
        if f"on {ITSELF}," in each["curve"]:
            trait = each["curve"].split("_")[0]
            assert each["coherence_change"] == pytest.approx(emergence[(trait, each["source"])], abs=1e-9)
            compared += 1
    assert compared >= 48
    assert max(-each["coherence_change"] for each in rows) > 39
