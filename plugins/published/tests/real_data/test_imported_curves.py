"""The published curves, drawn again from imported records: effects, pairs and cosines are the published ones.

What is imported is the part of the data behind ``tables/emergence.csv``, by links. The files lie in
``../shared/published`` beside the repository, or where ``PERSONASCOPE_PUBLISHED`` says; the tables beside them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from personascope.analysis.effects import effects
from personascope.core.vectors import PersonaVector, load_vector
from personascope.store.store import Store
from personascope.studies.replay import kept_studies
from personascope_published.imported import Imported, answer_rows
from personascope_published.importing import ImportSummary, import_published
from personascope_published.reading import open_published

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[5] / "shared" / "published"))
TABLES = ROOT.parent / "reference" / "tables"
pytestmark = pytest.mark.skipif(
    not (TABLES / "emergence.csv").is_file(), reason=f"the published data or its tables are not at {ROOT}"
)


def needed() -> set[str]:
    """The files behind the emergence table: answers, results, norms, traits; vectors and pairs of every subject."""
    table = pd.read_csv(TABLES / "emergence.csv")
    answers = {*table["baseline_path"], *table["output_path"]}
    answers |= {file.replace(".csv", "_extended.csv") for file in table["output_path"]}
    results = {*table["source"], *(file.replace("_significance", "") for file in table["source"])}
    folders = (
        "data/trait_data_eval",
        "data/trait_data_extract",
        "data/persona_vectors",
        "data/model_responses/extract",
    )
    rest = {path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.*")}
    rest |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("results/*/activation_norms/*.csv")}
    wanted = {file for file in rest if "evil_" not in file or "evil_character" in file}
    kept = {file for file in wanted if "model_responses" not in file or "main/sycophantic" in file}
    return {file for file in answers | results | kept if (ROOT / file).is_file()}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, ImportSummary]:
    root = tmp_path_factory.mktemp("published")
    for file in needed():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).symlink_to(ROOT / file)
    store = Store(tmp_path_factory.mktemp("store"))
    return store, import_published(open_published(root), store)


@pytest.fixture(scope="module")
def chosen(imported: tuple[Store, ImportSummary]) -> pd.DataFrame:
    """The effects of the emergence curves."""
    store, _ = imported
    (kept,) = [
        each.study for each in kept_studies(store) if isinstance(each.study, Imported) and not each.study.study.target
    ]
    frame = effects(answer_rows(store, kept))
    return frame[frame["chosen"].astype(bool)]


def test_the_imported_emergence_is_the_published_one_with_every_answer_once(chosen: pd.DataFrame) -> None:
    table = pd.read_csv(TABLES / "emergence.csv")
    both = table.merge(
        chosen, left_on=["trait", "checkpoint"], right_on=["trait", "milestone"], suffixes=("_published", "")
    )
    assert len(both) == len(table) == 62, "every published point has an imported one"
    # Where rows were counted twice, the table has the numbers without the duplicates beside them.
    delta = both["dedup_delta"].fillna(both["delta"])
    p = both["dedup_p_two_sided"].fillna(both["p_two_sided_published"])
    np.testing.assert_allclose(both["effect"], delta, rtol=0, atol=1e-9)
    np.testing.assert_allclose(both["p_two_sided"], p, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(both["residual_norm"], both["activation_norm"])
    np.testing.assert_array_equal(both["layer"].astype(int), both["layer_published"])
    np.testing.assert_array_equal(both["strength"], both["coef"])
    applied = both["coef"] * both["activation_norm"]
    np.testing.assert_allclose(both["applied_norm"], applied, rtol=1e-12)


def test_the_milestones_without_a_vector_are_absences_with_the_published_counts(chosen: pd.DataFrame) -> None:
    absent = chosen[chosen["absence"] == "no vector"]
    found = set(zip(absent["trait"], absent["milestone"], strict=True))
    table = pd.read_csv(TABLES / "extraction_failures.csv")
    expected = set(zip(table["trait"], table["checkpoint"], strict=True))
    assert found == {each for each in expected if each[0] in set(chosen["trait"])}
    assert (absent["pairs_kept"] == 0).all()
    assert set(absent["pairs_asked"]) == set(table["pos_rows"])


def test_the_imported_vectors_have_the_published_pairs_norms_and_cosines(imported: tuple[Store, ImportSummary]) -> None:
    store, summary = imported
    table = pd.read_csv(TABLES / "geometry.csv")
    folder = store.path / "vectors" / "Olmo-3-1025-7B"
    compared = 0
    vectors: dict[tuple[str, str], PersonaVector] = {}
    for path in sorted(folder.rglob("*_character_neutral_q.safetensors")):
        vector = load_vector(path)
        vectors[vector.trait, path.parent.name] = vector
    assert summary.vectors == len(list(folder.rglob("*.safetensors")))
    for row in table.to_dict("records"):
        mine, last = vectors.get((row["trait"], row["revision"])), vectors.get((row["trait"], "main"))
        if mine is None or last is None:
            continue
        compared += 1
        assert mine.lengths[row["layer"]] == pytest.approx(row["l2_norm"], rel=1e-6)
        assert mine.cosine(last)[row["layer"]] == pytest.approx(row["cos_to_main"], abs=1e-6)
    assert compared >= 76, f"only {compared} of the published cosines could be compared"
    pairs = pd.read_csv(TABLES / "extraction_filter.csv").set_index(["revision", "trait"])
    sycophantic = vectors["sycophantic", "main"]
    assert sycophantic.counts.kept == pairs.loc[("main", "sycophantic_character_neutral_q"), "effective"]
    assert len(sycophantic.sources) == 2 * sycophantic.counts.kept
    assert len(store.entries(sycophantic.sources)) == len(sycophantic.sources), "its sources are records of the store"
