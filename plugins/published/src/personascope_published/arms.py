"""The published rows as arms: which plain answers stand beside which steered ones, and how those were steered.

Owns: :class:`Arm` and :func:`arms_of`. The one law: an arm's answers are counted once each. A row that was made from a
file and twice its extension (tracing study §2.4) is the arm of the two files, and what it said is left to ``check``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from personascope.core.lineages import Milestone
from personascope_published.reading import Published, PublishedError, ResultsFile, trait_of
from personascope_published.reading.layout import VECTORS, Place, response_place

Unit = Literal["residual", "unit", "vector", ""]


@dataclass(frozen=True)
class Arm:
    """One row of a results file, as an arm. Numbers the files do not give are NaN, names they do not give are empty.

    ``model`` and ``source`` say where the vector is from, ``steered_model`` and ``evaluated`` what it steers.
    ``strength`` is a multiple of ``unit``: of the residual norm ``norm`` (``unit_norm``, ``targetnorm`` and
    ``norm_calibrated``: tracing study §1.6), of a unit direction (fixed norms) or of the vector itself. ``scaling`` is
    the published word for it.
    ``steered_files`` are the row's file and, where the row counts its answers too, the extension beside it; the means
    are those of the trait score that the row records.
    """

    model: str
    column: str
    source: Milestone
    steered_model: str
    evaluated: Milestone
    evaluated_column: str
    layer: float
    strength: float
    unit: Unit
    norm: float
    scaling: str
    vector_file: str
    plain_file: str
    steered_files: tuple[str, ...]
    results_file: str
    row: int
    plain_mean: float
    steered_mean: float

    @property
    def diagonal(self) -> bool:
        """Whether the vector steers the checkpoint it is from."""
        return self.model == self.steered_model and self.source.checkpoint == self.evaluated.checkpoint

    @property
    def models(self) -> tuple[str, str]:
        """The folders of the vector's model and of the steered one."""
        return self.model, self.steered_model

    @property
    def traits(self) -> tuple[str, str, str]:
        """The trait, the form its vector was extracted with and the form it was evaluated with."""
        trait, form = trait_of(self.column)
        return trait, form, trait_of(self.evaluated_column)[1]

    @property
    def way(self) -> tuple[str, str, str, str, str]:
        """What the points of one curve share: trait column, results file, layer, strength and scaling."""
        return self.column, self.results_file, str(self.layer), str(self.strength), self.scaling


def arms_of(study: Published) -> list[Arm]:
    """An arm for every complete row of every results file of grids and transfers, in the order of files and rows.

    Rows whose steered file has another trait's scores (``raw_output``) have none.
    """
    return [arm for each in study.results() for arm in _arms_in(study, each)]


def _arms_in(study: Published, results: ResultsFile) -> list[Arm]:
    needed = {"extract_revision", "trait", "baseline_path", "output_path"}
    if missing := sorted(needed - set(results.rows)):
        study.note(results.file, f"it has no column {missing[0]}, so its rows are no arms: fetch the file again")
        return []
    arms = []
    for each in results.rows.to_dict("records"):
        row = {str(name): value for name, value in each.items()}
        if row.get("status", "complete") not in ("complete", ""):
            continue
        if empty := sorted(name for name in needed if not row[name]):
            study.note(results.file, f"row {row['row']} has no {empty[0]}, so it is no arm: fetch the file again")
            continue
        arms.append(_arm(study, results, row))
    return arms


def _arm(study: Published, results: ResultsFile, row: Mapping[str, Any]) -> Arm:
    output = str(row["output_path"])
    place = response_place(output) or Place("steered", results.model, str(row.get("eval_revision", "")))
    column = str(row.get("vector_trait") or row["trait"])
    steered_model = str(row.get("eval_model_name") or results.model)
    revision = str(row.get("eval_revision", "")) if steered_model == results.model else place.revision
    strength, unit, norm, scaling = _scale(row, place)
    vector = f"{VECTORS}/{results.model}/{row['extract_revision']}/{column}_response_avg_diff.pt"
    return Arm(
        results.model, column, study.place(results.model, str(row["extract_revision"])),
        steered_model, study.place(steered_model, revision or "main"), str(row["trait"]),
        _number(row, "layer", place.layer), strength, unit, norm, scaling,
        str(row.get("vector_path") or vector), str(row["baseline_path"]), _composed(study, output, row),
        results.file, int(row["row"]), _number(row, "baseline_trait_mean"), _number(row, "output_trait_mean"),
    )  # fmt: skip


def _scale(row: Mapping[str, Any], place: Place) -> tuple[float, Unit, float, str]:
    """Strength, unit, residual norm and the published word for it (tracing study §1.6)."""
    scaling = str(row.get("scaling_mode") or place.scaling)
    strength = _number(row, "coef", place.coef)
    if scaling == "unit_norm":
        return strength, "residual", _number(row, "target_activation_norm"), scaling
    if scaling == "targetnorm" or not math.isnan(_number(row, "target_vector_norm")):
        return strength, "residual", _number(row, "target_vector_norm", place.target_norm), scaling or "targetnorm"
    if scaling == "norm_calibrated":
        return *_calibrated(row), scaling
    if scaling.startswith("norm"):
        fixed = _number(row, "target_norm_from_name", _number({"name": scaling.removeprefix("norm_")}, "name"))
        return fixed * (1.0 if math.isnan(strength) else strength), "unit", math.nan, scaling
    return strength, "vector" if not math.isnan(strength) else "", math.nan, scaling


def _calibrated(row: Mapping[str, Any]) -> tuple[float, Unit, float]:
    """A share of the residual norm that is not recorded itself: the transfer scale may hold the norm that was applied.

    Where it holds what its name says, the quotient of two residual norms, the share is not known.
    """
    norm, applied = _number(row, "target_activation_norm"), _number(row, "transfer_scale")
    quotient = norm / _number(row, "source_activation_norm")
    recorded = not math.isclose(applied, quotient, rel_tol=1e-6)
    return applied / norm if recorded else math.nan, "residual", norm


def _composed(study: Published, output: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The row's steered file, with its extension where the row counts more answers than the file holds."""
    extension = f"{output.removesuffix('.csv')}_extended.csv"
    counted = _number(row, "output_rows")
    if not study.has(extension) or not study.has(output) or math.isnan(counted):
        return (output,)
    try:
        more, added = counted - len(study.answers(output)), len(study.answers(extension))
    except PublishedError:  # noted by the study already
        return (output,)
    # A multiple, because the published tables were merged from files that had been merged before.
    return (output, extension) if more > 0 and added and more % added == 0 else (output,)


def _number(row: Mapping[str, Any], name: str, otherwise: float = math.nan) -> float:
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        return otherwise
    return otherwise if math.isnan(value) else value
