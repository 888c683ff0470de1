"""Selection: every way to steer that was tried, as a frame.

Owns: :func:`selection_rows`. The one law: what was not chosen stays in the table, so that the choice can be judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from personascope.core.outcomes import Selection

SELECTION = ["trait", "layer", "strength", "unit", "where", "score", "coherence", "chosen"]
"""Columns of a selection: ``score`` and ``coherence`` are means over the selection questions, 0 to 100."""


def selection_rows(selections: Sequence[Selection]) -> pd.DataFrame:
    """One row per trait and way of steering that was tried: its mean scores on the selection questions."""
    rows = [
        {
            "trait": selection.trait,
            "layer": "+".join(map(str, cell.steering.layers)),
            "strength": cell.steering.strength,
            "unit": cell.steering.unit,
            "where": cell.steering.where,
            "score": cell.trait,
            "coherence": cell.coherence,
            "chosen": cell.steering == selection.steering,
        }
        for selection in selections
        for cell in selection.cells
    ]
    return pd.DataFrame(rows, columns=SELECTION)
