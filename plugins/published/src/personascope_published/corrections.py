"""The published Bonferroni corrections: which family they were corrected for.

Owns: :func:`families`. The one law: a corrected p-value is min(1, p times a whole number), and that number is found
from the data, the same for all corrected p-values of a row.
"""

from __future__ import annotations

import math

import pandas as pd

ENDING = "_bonferroni_within_trait"
FAMILY = ["family", "family_is", "corrections"]
"""``family`` is what p-values were multiplied by, NaN if any number would do or none does; ``family_is`` says whose
number it is; ``corrections`` is the greatest absolute difference from min(1, p times family), NaN without any."""

LIMIT = 1e-15
"""How far a p-value may be off; its multiple may be off as many times that."""

Pairs = list[tuple[float, float]]
"""The p-values of one row, plain and corrected."""


def families(rows: pd.DataFrame) -> pd.DataFrame:
    """For each row of a results file the family it was corrected for, columns ``FAMILY``, in the rows' order.

    Takes the published columns, with recomputed p-values in the place of published ones where there are any: some files
    were put together from others with p-values that had lost their last digit.

    The family should be the tested rows of the file with the row's trait (tracing study §2.2). Where their number does
    not give the corrected values, it is inferred: the whole number that gives all of them. An inferred number is then
    that of all rows of the same target that it fits, because values corrected to 1 fit many numbers.
    """
    rows = rows.reset_index(drop=True)
    pairs = _pairs(rows)
    tested = [bool(each) for each in pairs]
    traits = rows["trait"] if "trait" in rows else pd.Series("", index=rows.index)
    sizes = traits.map(traits[tested].value_counts()).fillna(0).astype(int).tolist()
    found = [_family(each, size) for each, size in zip(pairs, sizes, strict=True)]
    named = [name for name in ("trait", "eval_model_name", "eval_revision") if name in rows]
    targets = list(map(tuple, rows[named].astype(str).to_numpy())) if named else [()] * len(rows)
    for target in dict.fromkeys(targets):
        _name_inferred(found, pairs, [place for place, each in enumerate(targets) if each == target])
    return pd.DataFrame(found, columns=FAMILY)


def _pairs(rows: pd.DataFrame) -> list[Pairs]:
    """Row by row, every p-value that has a corrected one."""
    columns = [(name.removesuffix(ENDING), name) for name in map(str, rows) if name.endswith(ENDING)]
    cells = [list(zip(rows[plain], rows[name], strict=True)) for plain, name in columns if plain in rows]
    return [[(p, c) for p, c in row if p == p and c == c] for row in zip(*cells, strict=True)] or [[]] * len(rows)


def _family(both: Pairs, size: int) -> tuple[float, str, float]:
    """The family of one row: the file's, or an inferred one."""
    if not both:
        return math.nan, "", math.nan
    if (worst := _worst(both, size)) <= LIMIT * size:
        return float(size), "rows of the file", worst
    numbers = {round(c / p) for p, c in both if p > 0 and c < 1}
    if len(numbers) == 1:
        number = numbers.pop()
        if (worst := _worst(both, number)) <= LIMIT * number:
            return float(number), "inferred", worst
    elif not numbers and all(c == 1 and p > 0 for p, c in both):
        return math.nan, "any", 0.0
    return math.nan, "none", _worst(both, size)


def _worst(both: Pairs, number: int) -> float:
    return max(abs(min(1.0, p * number) - c) for p, c in both)


def _name_inferred(found: list[tuple[float, str, float]], pairs: list[Pairs], members: list[int]) -> None:
    """Says whose number the inferred ones of a target's rows are; gives the one to all of its rows that it fits."""
    numbers = {int(found[place][0]) for place in members if found[place][1] == "inferred"}
    for place in members:
        if len(numbers) > 1 and found[place][1] == "inferred":
            found[place] = (found[place][0], "another file", found[place][2])
        if len(numbers) == 1 and pairs[place]:
            number = next(iter(numbers))
            if (worst := _worst(pairs[place], number)) <= LIMIT * number:
                whose = "rows of its target" if number == len(members) else "another file"
                found[place] = (float(number), whose, worst)
