"""The rows of all results files in one frame, and the curves they make.

Owns: :func:`result_rows` and :func:`with_curves`. The one law: a curve is one trait steered along training at one
layer, at one strength and in one place; which rows belong to it follows from the rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from personascope_published.reading import Published, ResultsFile

NUMBERS = {
    "layer": ("layer",),
    "strength": ("coef",),
    "source_norm": ("source_activation_norm",),
    "target_norm": ("target_activation_norm", "target_vector_norm"),
    "baseline_rows": ("baseline_rows",),
    "baseline_mean": ("baseline_trait_mean",),
    "baseline_coherence": ("baseline_coherence_mean",),
    "baseline_deviation": ("baseline_coherence_std",),
    "steered_rows": ("output_rows",),
    "steered_mean": ("output_trait_mean",),
    "steered_coherence": ("output_coherence_mean",),
    "effect": ("delta_trait_mean", "paired_trait_mean_diff"),
    "tested_effect": ("paired_trait_mean_diff", "delta_trait_mean"),
    "coherence_change": ("delta_coherence_mean",),
    "questions": ("paired_questions",),
    "p": ("trait_primary_p_two_sided", "trait_sign_flip_p_two_sided"),
    "corrected_p": ("trait_primary_p_two_sided_bonferroni_within_trait",),
}
"""Our name of a number, and the published columns it is in, the first one that has it. ``effect`` is the difference of
the means of answers, which figures show; ``tested_effect`` is that of question means, which the p-value is of."""

TEXTS = {
    "trait": ("trait",),
    "vector": ("vector_trait", "trait"),
    "source": ("extract_revision",),
    "evaluated": ("eval_revision",),
    "scaling": ("scaling_mode",),
    "status": ("status",),
    "baseline_file": ("baseline_path",),
    "steered_file": ("output_path",),
    "vector_file": ("vector_path",),
    "positive_file": ("pos_path",),
    "negative_file": ("neg_path",),
    "source_norm_file": ("source_norm_file",),
    "target_norm_file": ("target_norm_file",),
}

_NEEDED = ("extract_revision", "eval_revision", "trait", "baseline_path", "output_path")
FEWEST = 3
"""A curve has at least so many milestones; fewer are single measurements."""
ITSELF = "itself"
"""The target of a vector that steers the checkpoint it is from."""


def result_rows(study: Published, files: Sequence[ResultsFile]) -> pd.DataFrame:
    """One row per row of the results files: where it is, what was compared, and what was found.

    ``file``, ``row`` and ``run`` say where it is; ``model`` was evaluated with a vector of ``source_model`` at
    ``source``; ``place`` counts the source model's revisions in order of training. ``steers_itself`` is true where the
    vector steers its own checkpoint. Numbers and names a file does not have are NaN and empty.
    """
    frames = [_one(study, each) for each in files if len(each.rows)]
    head = ["file", "row", "run", "source_model", "model", "place", "steers_itself"]
    empty = pd.DataFrame(columns=[*head, *NUMBERS, *TEXTS])
    return pd.concat(frames, ignore_index=True) if frames else empty


def _one(study: Published, results: ResultsFile) -> pd.DataFrame:
    rows = results.rows
    if missing := [name for name in _NEEDED if name not in rows]:
        study.note(results.file, f"it has no column {missing[0]}, so its rows cannot be audited: fetch the file again")
    frame = pd.DataFrame({"file": results.file, "row": rows["row"], "run": results.run}, index=rows.index)
    for name, published in NUMBERS.items():
        column = pd.Series(np.nan, index=rows.index)
        for each in published:
            column = column.fillna(pd.to_numeric(rows[each], errors="coerce")) if each in rows else column
        frame[name] = column
    for name, published in TEXTS.items():
        found = next((each for each in published if each in rows), None)
        frame[name] = "" if found is None else rows[found].fillna("").astype(str)
    frame["source_model"] = results.model
    frame["model"] = rows.get("eval_model_name", results.model)
    places = {each.label: place for place, each in enumerate(study.lineage(results.model))}
    frame["place"] = frame["source"].map(places).astype("float64")
    # A post-trained model is never the vector's own checkpoint, whatever its only revision is called.
    frame["steers_itself"] = (frame["source"] == frame["evaluated"]) & (frame["model"] == frame["source_model"])
    return frame


def with_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that belong to a curve, with ``target`` and ``curve``, in order of training.

    A row whose vector steers its own checkpoint has the target ``itself``, unless it is the only such row among vectors
    that all steer that one checkpoint. A row without a strength or a p-value is on no curve.
    """
    frame = rows[rows["status"].isin(["complete", ""]) & rows["p"].notna() & rows["strength"].notna()].copy()
    keys = ["file", "trait", "layer", "strength", "scaling"]
    own = frame["steers_itself"].astype(bool)
    alone = own.groupby([frame[name] for name in keys], dropna=False).transform("sum") < 2
    elsewhere = frame["evaluated"].where(frame["model"] == frame["source_model"], frame["model"])
    frame["target"] = elsewhere.mask(own & ~alone, ITSELF)
    about = frame[["trait", "target", "layer", "strength", "scaling"]]
    frame["curve"] = [
        f"{trait} on {target}, layer {layer:g}, strength {strength:g}" + (f", {scaling}" if scaling else "")
        for trait, target, layer, strength, scaling in about.itertuples(index=False)
    ]
    enough = frame.groupby(["file", "curve"])["source"].transform("nunique") >= FEWEST
    return frame[enough.astype(bool)].sort_values(["file", "curve", "place"], kind="stable", ignore_index=True)
