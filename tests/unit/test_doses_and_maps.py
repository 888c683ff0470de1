"""The figures of selections and of doses: they draw what they are given, and nothing from nothing."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from personascope.analysis.selection import SELECTION
from personascope.analysis.transfer import shares
from personascope.figures.doses import doses
from personascope.figures.selection import selection_maps


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def selections(**columns: object) -> pd.DataFrame:
    cells = [(layer, strength) for layer in ("1", "2", "10") for strength in (0.5, 1.0)]
    rows = [
        dict(
            zip(
                SELECTION,
                ("cruel", layer, strength, "vector", "all", 10 * place, 90 - 10 * place, place == 3),
                strict=True,
            )
        )
        for place, (layer, strength) in enumerate(cells)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_a_map_has_the_deepest_layer_on_top_a_frame_and_faded_cells_below_the_floor():
    figure = selection_maps(selections(), floor=65)
    panel = figure.axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["10", "2", "1"]
    patches = [each for each in panel.patches if isinstance(each, Rectangle)]
    framed = [each for each in patches if not each.get_fill()]
    assert [each.get_xy() for each in framed] == [(0.5, 0.5)], "the second strength of the layer in the middle"
    assert len(patches) - len(framed) == 3, "three cells are less coherent than 65"
    assert {text.get_text() for text in panel.texts} == {f"{10 * n}\n{90 - 10 * n}" for n in range(6)}


def test_there_is_a_panel_for_every_trait_place_and_milestone():
    rows = pd.concat([selections(where=where, milestone=step) for where in ("all", "prompt") for step in ("a", "b")])
    titles = [panel.get_title(loc="left").replace("\n", " ") for panel in selection_maps(rows).axes[:4]]
    assert titles == ["cruel, all, a", "cruel, all, b", "cruel, prompt, a", "cruel, prompt, b"]


def test_doses_stand_above_the_coherence_they_cost():
    rows = pd.DataFrame(
        [
            {"trait": trait, "line": line, "applied_norm": norm, "effect": 10 * norm, "low": norm, "high": 20 * norm,
             "steered_coherence": 90 - norm}
            for trait in ("cruel", "funny", "rude")
            for line in ("response", "prompt")
            for norm in (1.0, 2.0)
        ]
    )  # fmt: skip
    axes = doses(rows, line="line").axes
    assert [panel.get_title(loc="left") for panel in axes[:3]] == ["cruel", "funny", "rude"]
    assert [panel.get_ylabel() for panel in (axes[0], axes[3])] == ["effect (score points)", "coherence"]
    assert all(panel.get_ylim() == (0, 103) for panel in axes[3:6])


def test_nothing_draws_an_empty_figure():
    assert selection_maps(selections().iloc[:0])
    columns = ["trait", "line", "applied_norm", "effect", "low", "high", "steered_coherence"]
    assert doses(pd.DataFrame(columns=columns), line="line")


def test_a_share_is_of_the_last_effect_and_of_none_where_that_is_not_above_zero():
    rows = pd.DataFrame(
        {
            "trait": ["a"] * 3 + ["b"] * 2,
            "extracted_as": "x",
            "evaluated_as": "x",
            "target": "sft",
            "place": [2, 0, 1, 0, 1],
            "effect": [20.0, 5.0, None, 3.0, -1.0],
        }
    )
    found = shares(rows)["share"]
    assert found[:2].tolist() == [1.0, 0.25]
    assert found[2:].isna().all()
    assert shares(rows.iloc[:0]).empty
