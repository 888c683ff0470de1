"""The frames behind the figures of a published study: everything but ink.

Owns: a function per kind of figure, from the study to a frame of the analysis that says where its rows are from. The
one law: no statistic is made here; the analysis makes them, and what was published is put beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from personascope.analysis.agreement import rates
from personascope.analysis.effects import EFFECT, curves, effects
from personascope.analysis.transfer import without_aliases
from personascope_published.arms import Arm
from personascope_published.curves import Led, absent_frame, answer_frame, milestone_columns
from personascope_published.reading import FacetFile, Published, PublishedError, ResultsFile, trait_of

FROM = ["published_effect", "published_p", "basis", "results"]
"""What stands beside an effect: the effect and the p-value its results file has, what the effect follows from
(``answers``, or ``published`` where those are not there), and the results file with its row."""

_STEERED = [
    "trait",
    "extracted_as",
    "evaluated_as",
    "target",
    "milestone",
    "layer",
    "strength",
    "unit",
    "residual_norm",
]


def whole_answers(study: Published, arms: Sequence[Led]) -> pd.DataFrame:
    """The answers of every arm of one model, and a row for every milestone without a vector."""
    parts = [answer_frame(study, arms), absent_frame(study, arms)]
    return pd.concat([each for each in parts if len(each)] or parts[:1], ignore_index=True)


def effect_frame(study: Published, arms: Sequence[Led], answers: pd.DataFrame) -> pd.DataFrame:
    """The effect of every arm of one model, and the milestones without a vector; columns ``EFFECT`` and ``FROM``.

    An arm whose answers are not among the published files keeps the effect and the p-value of its results file, without
    an interval: its ``basis`` is ``published``.
    """
    said = _published(study, arms)
    frame = effects(answers).merge(said, on=_STEERED, how="left", validate="one_to_one")
    frame["basis"] = np.where(frame["effect"].notna(), "answers", "")
    lost = frame["effect"].isna() & frame["published_effect"].notna()
    frame.loc[lost, "effect"] = frame.loc[lost, "published_effect"]
    frame.loc[lost, "p_two_sided"] = frame.loc[lost, "published_p"]
    frame.loc[lost, ["absence", "basis"]] = ["", "published"]
    return frame[[*EFFECT, *FROM]]


def _published(study: Published, arms: Sequence[Led]) -> pd.DataFrame:
    """What the results files say of the arms, with the columns that tell arms apart."""
    tables = {each.file: each.rows.set_index("row") for each in study.results()}
    rows = []
    for each in arms:
        arm = each.arm
        row = tables[arm.results_file].loc[arm.row] if arm.results_file in tables else pd.Series(dtype=object)
        trait, extracted_as, evaluated_as = arm.traits
        layer = "" if math.isnan(arm.layer) else f"{arm.layer:g}"
        keys = [trait, extracted_as, evaluated_as, each.target, arm.source.label, layer]
        # Some rows were tested anew against another baseline than their means are of; the means are what was drawn.
        effect = row.get("delta_trait_mean", row.get("paired_trait_mean_diff", math.nan))
        p = row.get("trait_primary_p_two_sided", math.nan)
        place = f"{arm.results_file}:{arm.row}" if arm.results_file in tables else ""
        rows.append([*keys, arm.strength, arm.unit, arm.norm, effect, p, place])
    return pd.DataFrame(rows, columns=[*_STEERED, "published_effect", "published_p", "results"])


def ways_frame(arms: Sequence[Led]) -> pd.DataFrame:
    """Every way in which vectors were steered, and which is drawn: one row per trait, target and way."""
    rows = [
        {
            "trait": arm.traits[0], "target": each.target, "layer": arm.layer, "strength": arm.strength,
            "scaling": arm.scaling, "unit": arm.unit, "results": arm.results_file, "drawn": each.chosen,
            "milestone": arm.source.label,
        }
        for each in arms
        for arm in [each.arm]
    ]  # fmt: skip
    columns = ["trait", "target", "layer", "strength", "scaling", "unit", "results", "drawn"]
    frame = pd.DataFrame(rows, columns=[*columns, "milestone"])
    counts = frame.groupby(columns, dropna=False, sort=False)["milestone"].nunique()
    return counts.rename("milestones").reset_index().sort_values(["trait", "target"], kind="stable", ignore_index=True)


def drawn_curves(found: pd.DataFrame, *, target: str, aliases: bool = False) -> pd.DataFrame:
    """The curves onto one target (empty: each vector's own checkpoint): ``CURVE``, ``FROM`` and how it was steered.

    Revisions that repeat the weights of another one are left out, or with ``aliases`` named as what they are.
    """
    mine = found[(found["target"] == target) & found["chosen"].astype(bool)]
    frame = curves(mine)
    more = mine[
        ["trait", "extracted_as", "evaluated_as", "place", "same_weights_as", *FROM, "layer", "strength", "unit"]
    ]
    whole = frame.merge(more, on=["trait", "extracted_as", "evaluated_as", "place"], how="left", validate="one_to_one")
    alias = whole["same_weights_as"].isin(set(whole["milestone"]))
    if aliases:
        named = whole["milestone"] + " (= " + whole["same_weights_as"] + ")"
        return whole.assign(milestone=whole["milestone"].where(~alias, named))
    return whole[~alias].reset_index(drop=True)


def control_frame(study: Published, results: ResultsFile) -> pd.DataFrame:
    """The published effects of one run of controls; their answers are not published, so nothing is recomputed.

    Columns: curve (trait, layer and coefficient), trait, extracted_as, evaluated_as, target, direction (with the seed),
    kind, chosen, layer, strength, milestone columns, effect, p_two_sided, coherence_change, norm (of what was added,
    NaN where the table does not say), results.

    Raises:
        PublishedError: if the table lacks a column.
    """
    rows = results.rows
    needed = ["revision", "mode", "seed", "trait", "layer", "coef", "delta_trait_mean", "trait_primary_p_two_sided"]
    if missing := [name for name in needed if name not in rows]:
        raise PublishedError(f"{results.file} has no column {missing[0]}: fetch the file again")
    places = [milestone_columns(study, results.model, study.place(results.model, each)) for each in rows["revision"]]
    layers, coefficients, seeds = (rows[name].map("{:g}".format) for name in ("layer", "coef", "seed"))
    traits = rows["trait"].map(lambda column: trait_of(column)[0])
    forms = rows["trait"].map(lambda column: trait_of(column)[1])
    norms = next((rows[name] for name in ("target_activation_norm", "target_vector_norm") if name in rows), np.nan)
    frame = pd.DataFrame({
        "curve": traits + ", layer " + layers + ", x " + coefficients, "trait": traits, "extracted_as": forms,
        "evaluated_as": forms, "target": "", "direction": rows["mode"] + "-" + seeds, "kind": rows["mode"],
        "chosen": True, "layer": layers, "strength": rows["coef"], "effect": rows["delta_trait_mean"],
        "p_two_sided": rows["trait_primary_p_two_sided"], "coherence_change": rows.get("delta_coherence_mean", np.nan),
        "norm": rows["coef"] * norms, "results": results.file + ":" + rows["row"].astype(str),
    })  # fmt: skip
    return pd.concat([frame, pd.DataFrame(places, index=frame.index)], axis=1)


def beside_controls(found: pd.DataFrame, run: pd.DataFrame) -> pd.DataFrame:
    """The real vectors' own curve beside one run of controls: columns ``CURVE``, under the name of the run."""
    real = found[(found["target"] == "") & found["chosen"].astype(bool) & found["trait"].isin(run["trait"])]
    real = real[real["place"].isin(run["place"])]
    real = without_aliases(real, by=["trait", "extracted_as", "evaluated_as"])
    both = curves(pd.concat([real, run.reindex(columns=real.columns)], ignore_index=True))
    return both.assign(curve=run["curve"].iloc[0])


def control_note(found: pd.DataFrame, run: pd.DataFrame) -> str:
    """What a run of controls can be compared with: its push beside the vectors' at the same milestones, as published.

    The mean change of coherence says how hard each pushed, whatever norms were meant.
    """
    real = found[(found["target"] == "") & found["chosen"].astype(bool) & found["trait"].isin(run["trait"])]
    real = real[real["place"].isin(run["place"]) & real["effect"].notna()]
    moved = (real["steered_coherence"] - real["plain_coherence"]).mean()
    norms, lengths = run["norm"].dropna(), real["applied_norm"].dropna()
    said = f"norm {norms.min():.3g} to {norms.max():.3g}" if len(norms) else "norm not published"
    push = (
        f"; coherence changed by {run['coherence_change'].mean():+.1f}" if run["coherence_change"].notna().any() else ""
    )
    if real.empty:
        return f"controls: {said}{push}; no vector beside them"
    strengths = " and ".join(f"{each:g}" for each in sorted(real["strength"].dropna().unique()))
    length = f"norm {lengths.min():.3g} to {lengths.max():.3g}" if len(lengths) else "norm unknown"
    return f"controls: {said}{push}\nvectors (x {strengths}): {length}; coherence changed by {moved:+.1f}"


def facet_frame(study: Published, files: Iterable[FacetFile]) -> pd.DataFrame:
    """Rates of facets along training: one row per set of files, revision and facet; files of no revision are not here.

    Columns: facet_set, the milestone columns, those of :func:`~personascope.analysis.agreement.rates`, and file.
    """
    frames = []
    for each in files:
        if each.revision and len(each.rows):
            found = rates(each.rows, each.facets)
            place = milestone_columns(study, each.model, study.place(each.model, each.revision))
            frames.append(found.assign(facet_set=facet_set(each), file=each.file, **place))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["facet_set", "file"])


def facet_set(each: FacetFile) -> str:
    """What files of one kind are called: their name without the revision."""
    return each.name.removesuffix(each.revision).strip("_").replace("_", " ")


def discourse_arms(study: Published, model: str) -> list[Led]:
    """The arms of the ablations of discourse: in one folder every vector on every set of questions.

    The target is the folder, with the layer and the coefficient where a folder has several; it stands for the judge.
    """
    files = study.response_files()
    files = files[(files["model"] == model) & (files["run"] == "extraction_ablation")]
    folders = files["file"].str.rsplit("/", n=1).str[0]
    arms = []
    for folder, mine in files.groupby(folders, sort=True):
        plain = mine[mine["kind"] == "baseline"].drop_duplicates("column").set_index("column")["file"]
        steered = mine[mine["kind"] == "steered"]
        several = len(steered[["layer", "coef"]].drop_duplicates()) > 1
        for row in steered.to_dict("records"):
            way = f", layer {row['layer']:g} x {row['coef']:g}" if several else ""
            place = study.place(model, str(row["revision"]))
            arm = Arm(
                model=model,
                column=str(row["vector_column"]),
                source=place,
                steered_model=model,
                evaluated=place,
                evaluated_column=str(row["column"]),
                layer=float(row["layer"]),
                strength=float(row["coef"]),
                unit="",
                norm=math.nan,
                scaling=str(row["scaling"]),
                vector_file="",
                plain_file=str(plain.get(row["column"], f"{folder}/baseline_{row['column']}.csv")),
                steered_files=(str(row["file"]),),
                results_file=str(row["file"]),
                row=0,
                plain_mean=math.nan,
                steered_mean=math.nan,
            )
            arms.append(Led(arm, f"{str(folder).rsplit('/', 1)[-1]}{way}", True))
    return arms
