"""The published repository is read whole: every row its manifest counts, by a strict reader and by pandas alike."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from personascope_published.reading import Published, open_published
from personascope_published.reading.reading import read_rows

ROOT = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[5] / "shared" / "published"))
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"the published data is not at {ROOT}")


@pytest.fixture(scope="module")
def study() -> Published:
    return open_published(ROOT)


def test_every_file_has_the_rows_its_manifest_counts(study: Published) -> None:
    if not study.has("MANIFEST.csv"):
        pytest.skip("the published data has no MANIFEST.csv")
    manifest = pd.read_csv(ROOT / "MANIFEST.csv")
    counted = manifest[manifest["rows"].notna() & manifest["path"].map(study.has)]
    start = time.process_time()
    for file, rows in zip(counted["path"], counted["rows"], strict=True):
        assert len(read_rows(study.path(file), file)[1]) == rows, f"{file} has other rows than its manifest says"
    taken = time.process_time() - start
    assert len(counted) >= 703, f"only {len(counted)} files were counted"
    assert taken < 10, f"reading took {taken:.1f} CPU seconds, it should take one"


def test_nothing_in_the_repository_is_a_problem(study: Published) -> None:
    files = study.response_files()
    assert len(files) == 639
    rows = sum(len(study.answers(file)) for file in files["file"])
    assert rows == 103_024
    for read, pattern in (
        (study.results, "*/*/*/combined_significance.csv"),
        (study.combined, "*/checkpoint_grid/*/combined.csv"),
        (study.controls, "*/controls/*/combined.csv"),
        (study.cosines, "*/checkpoint_grid/*/vector_similarity/*.csv"),
        (study.facets, "*/facet_annotation/*.csv"),
    ):
        assert len(read()) == len(list((ROOT / "results").glob(pattern))) > 0, pattern
    assert len(study.vectors()) == 79
    assert study.norms().groupby(["model", "revision", "label"]).size().eq(33).all()
    assert len(study.pass_rates()) == 136
    assert len(study.traits()) == 22
    assert study.problems == []


def test_pandas_reads_the_same_answers_where_it_is_told_that_na_is_a_word(study: Published) -> None:
    files = study.response_files()
    chosen = files.groupby(["kind", "model", "column"], dropna=False).tail(2)["file"]
    assert len(chosen) >= 80
    for file in chosen:
        ours = study.answers(file)
        column = ours["column"].iloc[0]
        theirs = pd.read_csv(study.path(file), keep_default_na=False, dtype=str, encoding="utf-8")
        assert len(ours) == len(theirs), file
        for name in {"question_id", "question", "prompt", "answer"} & set(theirs.columns):
            assert ours[name].tolist() == theirs[name].tolist(), f"{name} of {file}"
        numbers = pd.read_csv(study.path(file))
        for name, mine in ((column, "score"), ("coherence", "coherence")):
            if name in numbers:
                np.testing.assert_allclose(ours[mine], numbers[name], rtol=1e-14, atol=0, err_msg=f"{name} of {file}")


def test_every_revision_has_its_place_in_training(study: Published) -> None:
    files = study.response_files()
    base = max(study.models, key=lambda model: int((files["model"] == model).sum()))
    lineage = study.lineage(base)
    tokens = [milestone.tokens_seen for milestone in lineage]
    assert len(tokens) == 36
    assert all(count is not None for count in tokens), "a revision of a known model is counted by its stage"
    assert tokens == sorted(tokens)
    assert len(lineage.targets) == 3
    used = set(files.loc[files["model"] == base, "source_revision"]) - {""}
    assert used <= {milestone.label for milestone in lineage}
