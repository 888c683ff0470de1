"""Figures: one mark per row, nothing that overlaps, nothing that is cut off, and the same file for the same frame."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from matplotlib.axis import Tick

from personascope.applications.facets.figures import facets
from personascope.figures.along import Along
from personascope.figures.controls import controls
from personascope.figures.discourse import discourse
from personascope.figures.emergence import emergence
from personascope.figures.geometry import cosine_matrices, cosine_trajectory, mds, norms
from personascope.figures.style import look, save, series, wrapped
from personascope.figures.tables import (
    controls_table,
    discourse_table,
    emergence_table,
    facets_table,
    geometry_table,
    plain_table,
    transfer_table,
)  # fmt: skip
from personascope.figures.transfer import transfer, transfer_bins, transfer_pairs

LONG = "unreasonably_long_names_of_traits, told from assistant to story_and_back & 50 % of $them$"
STEPS = (4e9, 8e9, 1.2e10, 2.1e10, 4.2e10, 8.4e10, 4.1e11, 1.3e12, 5.93e12, 6.03e12, 6.08e12)


def curve_rows(names=("grim", "sly"), *, steps=STEPS, targets=("",), without=2) -> pd.DataFrame:
    """Curves whose first milestones have no vector; every third effect is not significant."""
    rows = [
        {
            "curve": name, "trait": name, "target": target, "milestone": f"step-{place}", "place": place,
            "tokens_seen": tokens, "stage": "1" if place < len(steps) - 2 else str(place - len(steps) + 4),
            "effect": np.nan if place < without else 3.0 * place + number,
            "low": np.nan if place < without else 2.0 * place, "high": np.nan if place < without else 5.0 * place,
            "p_two_sided": np.nan if place < without else (0.2 if place % 3 == 0 else 0.01),
            "absence": "no vector" if place < without else "", "control_low": -1.0 if place > 4 else np.nan,
            "control_high": 2.0 if place > 4 else np.nan, "control_mean": 0.4 if place > 4 else np.nan,
            "shuffled_mean": 0.1 if place > 5 else np.nan,
        }
        for number, name in enumerate(names) for target in targets for place, tokens in enumerate(steps)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def onset_rows(curves: pd.DataFrame) -> pd.DataFrame:
    rows = curves[curves["place"] == 4]
    ends = {"low_place": 3, "low_tokens": STEPS[3], "high_place": np.inf, "high_tokens": np.inf}
    return rows[["curve", "place", "tokens_seen"]].assign(**ends)


def trajectory_rows(names=("grim", "sly"), *, steps=STEPS) -> pd.DataFrame:
    """Vectors along training; the last but one has the weights of the last, which is the reference."""
    last = len(steps) - 1
    return pd.DataFrame([
        {
            "trait": name, "form": "story", "layer": 3, "milestone": f"step-{place}", "place": place,
            "tokens_seen": steps[last] if place == last - 1 else tokens, "stage": "1",
            "same_weights_as": f"step-{last}" if place == last - 1 else "", "length": 40.0 / (place + 1),
            "residual_norm": 300.0 / (place + 1), "relative_norm": 0.13, "reference": f"step-{last}",
            "to_reference": (place + 1) / len(steps), "previous": f"step-{place - 1}" if place else "",
            "to_previous": 0.8 - 0.1 * number if place and place != last - 1 else np.nan,
        }
        for number, name in enumerate(names) for place, tokens in enumerate(steps)
    ])  # fmt: skip


def cosine_rows(groups=("grim", "sly"), *, count=5) -> pd.DataFrame:
    return pd.DataFrame([
        {"trait": group, "first": f"step-{one}", "second": f"step-{other}", "first_place": one,
         "cosine": 0.9 ** abs(one - other)}
        for group in groups for one in range(count) for other in range(count)
    ])  # fmt: skip


def facet_rows(sets=("kinds", "moods"), *, steps=STEPS) -> pd.DataFrame:
    return pd.DataFrame([
        {"facet_set": name, "facet": facet, "milestone": f"step-{place}", "place": place, "tokens_seen": tokens,
         "stage": "", "rate": share, "low": share - 0.1, "high": share + 0.1, "answers": 100 - place,
         "questions": 20 - place}
        for name in sets for place, tokens in enumerate(steps) for facet, share in (("a", 0.2), ("b", 0.5), ("c", 0.8))
    ])  # fmt: skip


def cell_rows(judges=("one", "two"), *, effect=10.0) -> pd.DataFrame:
    forms = ("character", "dialogue", "story")
    return pd.DataFrame([
        {"judge": judge, "extracted_as": vector, "evaluated_as": form, "effect": effect + row - column, "low": 1.0,
         "high": 20.0, "p_two_sided": 0.2 if vector == form else 0.01}
        for judge in judges for row, vector in enumerate(forms) for column, form in enumerate(forms)
    ])  # fmt: skip


def bin_rows(names=("grim", "sly"), targets=("base", "chat")) -> pd.DataFrame:
    return pd.DataFrame([
        {"curve": name, "target": target, "bin": stretch, "bin_place": place, "milestones": place + 1,
         "effect": 4.0 * place, "standard_error": np.nan if place == 0 else 1.0}
        for name in names for target in targets for place, stretch in enumerate(("early", "mid", "late"))
    ])  # fmt: skip


def pair_rows(names=("grim", "sly")) -> pd.DataFrame:
    return pd.DataFrame([
        {"curve": name, "milestone": f"step-{place}", "first": "base", "second": "chat", "first_effect": 3.0 * place,
         "second_effect": 1.0 * place}
        for name in names for place in range(7)
    ])  # fmt: skip


def control_rows(names=("grim", "sly")) -> pd.DataFrame:
    return pd.DataFrame([
        {"curve": name, "place": place, "tokens_seen": STEPS[place], "stage": "1", "direction": kind,
         "effect": seed - 1.0, "p_two_sided": 0.01 if seed == 2 else 0.5, "note": "norm not published\nnor known"}
        for name in names for place in (3, 5, 7) for kind in ("random", "shuffled") for seed in range(3)
    ])  # fmt: skip


def path_rows(names=("grim", "sly")) -> pd.DataFrame:
    return pd.DataFrame([
        {"trait": name, "form": "story", "milestone": f"step-{place}", "place": place, "tokens_seen": STEPS[place],
         "x": float(place), "y": float(number * 5 + place % 3), "stress_1": 0.2}
        for number, name in enumerate(names) for place in range(6)
    ])  # fmt: skip


DRAWN = {
    "emergence": lambda: emergence(curve_rows(), onsets=onset_rows(curve_rows())),
    "emergence of one": lambda: emergence(curve_rows(("grim",), steps=STEPS[:1], without=0)),
    "transfer by trait": lambda: transfer(curve_rows(targets=("base", "chat", "tuned"))),
    "transfer by target": lambda: transfer(curve_rows(targets=("base", "chat")), panel="target", line="curve"),
    "transfer bins": lambda: transfer_bins(bin_rows()),
    "transfer pairs": lambda: transfer_pairs(pair_rows()),
    "controls": lambda: controls(control_rows(), curves=curve_rows()),
    "cosine matrices": lambda: cosine_matrices(cosine_rows()),
    "many cosines": lambda: cosine_matrices(cosine_rows(count=16)),
    "cosine trajectory": lambda: cosine_trajectory(trajectory_rows(), ceiling=ceiling_rows()),
    "norms": lambda: norms(trajectory_rows()),
    "paths": lambda: mds(path_rows()),
    "facets": lambda: facets(facet_rows()),
    "discourse": lambda: discourse(cell_rows()),
    "effects of both signs": lambda: discourse(cell_rows(effect=0.0)),
    "long names, emergence": lambda: emergence(curve_rows((LONG, "sly"))),
    "long names, transfer": lambda: transfer(curve_rows((LONG, "sly"), targets=(LONG, "chat"))),
    "long names, pairs": lambda: transfer_pairs(pair_rows().assign(first="a " + "long " * 6, second="other " * 6)),
    "long names, controls": lambda: controls(control_rows((LONG,))),
    "long names, cosines": lambda: cosine_matrices(cosine_rows((LONG, "sly"))),
    "long names, discourse": lambda: discourse(cell_rows((LONG, "sly")).replace({"story": "story_" * 8})),
}  # fmt: skip


def ceiling_rows() -> pd.DataFrame:
    return pd.DataFrame([{"trait": name, "form": "story", "cosine": 0.97} for name in ("grim", "sly")])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def marks(ax, marker: str = "o") -> list[tuple[float, float, str]]:
    """Every mark of a kind in a panel: where it is, and the colour of its face. Entries of a legend have no place."""
    lines = [line for line in ax.lines if line.get_marker() == marker]
    return [
        (float(x), float(y), str(line.get_markerfacecolor()))
        for line in lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        if np.isfinite(x) and np.isfinite(y)
    ]


def written(figure) -> list:
    """Every text that is seen, after the figure was laid out: those of ticks beyond the ends of an axis are not."""
    figure.canvas.draw()
    of_ticks = {id(text) for tick in figure.findobj(Tick) for text in (tick.label1, tick.label2)}
    seen = {
        id(text)
        for ax in figure.axes
        if ax.axison and ax.get_visible()
        for axis in (ax.xaxis, ax.yaxis)
        for text in _numbers(axis)
    }
    texts = [each for each in figure.findobj(plt.Text) if each.get_visible() and each.get_text().strip()]
    shown = [each for each in texts if each.axes is None or (each.axes.get_visible() and _drawn(each))]
    return [each for each in shown if id(each) not in of_ticks or id(each) in seen]


def _drawn(text) -> bool:
    """Whether a panel without axes draws this text all the same."""
    return text.axes.axison or text in text.axes.texts


def _numbers(axis) -> list:
    """The labels of an axis that lie within its ends."""
    low, high = sorted(axis.get_view_interval())
    across = 0 if axis.axis_name == "x" else 1
    ticks = [*axis.get_majorticklabels(), *axis.get_minorticklabels()]
    return [each for each in ticks if low - 1e-9 <= each.get_position()[across] <= high + 1e-9]


# What every figure keeps.


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cut_off_too_small_or_covered(name):
    figure = DRAWN[name]()
    width, height = figure.canvas.get_width_height()
    boxes = [(text, text.get_window_extent()) for text in written(figure)]
    for text, box in boxes:
        assert text.get_fontsize() >= 7, f"'{text.get_text()}' is set in {text.get_fontsize()} points"
        within = box.x0 >= -2 and box.y0 >= -2 and box.x1 <= width + 2 and box.y1 <= height + 2
        assert within, f"'{text.get_text()}' is cut off: {box} of {width} by {height}"
    # Turned labels lie side by side while their upright boxes cross.
    upright = [(text, box) for text, box in boxes if text.get_rotation() % 90 == 0]
    for (one, first), (other, second) in itertools.combinations(upright, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert min(across, down) <= 2, f"'{one.get_text()}' lies on '{other.get_text()}'"


@pytest.mark.parametrize(
    ("name", "kind"), [("emergence of one", "pdf"), ("emergence", "png"), ("discourse", "png"), ("paths", "pdf")]
)
def test_the_same_frame_gives_the_same_bytes(tmp_path, name, kind):
    for copy in ("one", "other"):
        save(DRAWN[name](), tmp_path / f"{copy}.{kind}")
    assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()


def test_a_users_own_settings_stay_untouched():
    before = dict(plt.rcParams)
    emergence(curve_rows())
    assert dict(plt.rcParams) == before


@pytest.mark.parametrize(
    "drawn",
    [
        lambda: emergence(curve_rows().iloc[:0]),
        lambda: transfer(curve_rows().iloc[:0]),
        lambda: transfer_bins(bin_rows().iloc[:0]),
        lambda: transfer_pairs(pair_rows().iloc[:0]),
        lambda: controls(control_rows().iloc[:0]),
        lambda: cosine_matrices(cosine_rows().iloc[:0]),
        lambda: cosine_trajectory(trajectory_rows().iloc[:0], ceiling=ceiling_rows().iloc[:0]),
        lambda: norms(trajectory_rows().iloc[:0]),
        lambda: mds(path_rows().iloc[:0]),
        lambda: facets(facet_rows().iloc[:0]),
        lambda: discourse(cell_rows().iloc[:0]),
    ],
)
def test_an_empty_frame_is_an_empty_figure_that_says_so(drawn):
    assert [text.get_text() for text in written(drawn())] == ["no data"]


def test_neighbouring_lines_differ_in_more_than_colour():
    for place in range(7):
        one, other = series(place), series((place + 1) % 7)
        assert one.marker != other.marker
        assert one.line != other.line
        assert one.colour != other.colour


# What each figure shows.


def test_every_effect_is_one_mark_with_one_whisker_and_every_absence_one_cross():
    curves = curve_rows()
    for ax, (_, rows) in zip(emergence(curves).axes, curves.groupby("curve", sort=False), strict=True):
        shown = rows[rows["absence"] == ""]
        assert sorted(y for _, y, _ in marks(ax)) == sorted(shown["effect"])
        assert len(marks(ax, "x")) == (rows["absence"] != "").sum()
        hollow = [y for _, y, face in marks(ax) if face == "white"]
        assert sorted(hollow) == sorted(shown.loc[shown["p_two_sided"] >= 0.05, "effect"])
        bars = [len(each.get_segments()) for each in ax.collections if hasattr(each, "get_segments")]
        assert bars.count(len(shown)) == 1, f"one whisker per effect, not {bars}"


def test_marks_are_filled_by_the_p_value_that_is_named():
    curves = curve_rows(("grim",)).assign(p_holm=1.0)
    assert {face for _, _, face in marks(emergence(curves, p="p_holm").axes[0])} == {"white"}
    legend = [text.get_text() for text in emergence(curves, p="p_holm").legends[0].get_texts()]
    assert "steered, Holm's p < 0.05" in legend


def test_an_effect_without_an_interval_or_without_a_value_is_drawn_without_inventing_one():
    curves = curve_rows(("grim",), without=0)
    curves.loc[2, ["low", "high"]] = [-np.inf, np.inf]
    curves.loc[4, ["effect", "low", "high"]] = np.nan
    ax = emergence(curves).axes[0]
    assert len(marks(ax)) == len(curves) - 1
    line = next(each for each in ax.lines if each.get_linestyle() == "-" and len(each.get_xdata()) == len(curves))
    assert np.isnan(line.get_ydata()[4]), "the line must have a gap where the effect is unknown"


def test_controls_make_a_band_where_there_are_any_and_none_elsewhere():
    curves = curve_rows(("grim",))
    labels = [text.get_text() for text in emergence(curves, controls="random, own norm").legends[0].get_texts()]
    assert "random, own norm" in labels
    bare = curves.assign(control_low=np.nan, control_high=np.nan, control_mean=np.nan, shuffled_mean=np.nan)
    labels = [text.get_text() for text in emergence(bare).legends[0].get_texts()]
    assert not [each for each in labels if "random" in each or "shuffled" in each]


def test_an_effect_that_could_not_be_recomputed_is_ringed():
    curves = curve_rows(("grim",)).assign(basis="answers")
    curves.loc[5, "basis"] = "published"
    rings = [line for line in emergence(curves).axes[0].lines if line.get_markersize() == 8]
    assert [list(each.get_ydata()) for each in rings] == [[curves.loc[5, "effect"]]]


def test_transfer_has_a_line_per_target_and_shows_each_absence_once():
    curves = curve_rows(("grim",), targets=("base", "chat", "tuned"))
    ax = transfer(curves).axes[0]
    for place in range(3):
        assert len(marks(ax, series(place).marker)) >= len(STEPS) - 2
    assert len(marks(ax, "x")) == 2, "three targets lack the same vectors: one cross each is enough"


def test_bins_and_pairs_have_a_mark_per_row():
    bins, pairs = bin_rows(("grim",)), pair_rows(("grim",))
    ax = transfer_bins(bins).axes[0]
    assert len(marks(ax, "o")) + len(marks(ax, "s")) == len(bins)
    assert sorted(int(text.get_text()) for text in ax.texts) == sorted(bins["milestones"])
    segments = [each for held in ax.collections for each in held.get_segments()]
    ends = sorted({(round(float(s[0][1]), 9), round(float(s[1][1]), 9)) for s in segments if s[0][1] != s[1][1]})
    assert ends == [(3.0, 5.0), (7.0, 9.0)], "a whisker is one standard error either way"
    panel = transfer_pairs(pairs).axes[0]
    assert len(marks(panel)) == len(pairs)
    assert panel.get_xlim() == panel.get_ylim(), "two scales would turn the line of equal effects"


def test_controls_are_single_marks_and_their_note_is_written():
    rows = control_rows(("grim",))
    ax = controls(rows, curves=curve_rows()).axes[0]
    assert len(marks(ax, "s")) + len(marks(ax, "^")) == len(rows)
    assert {"norm not published", "nor known"} <= {text.get_text() for text in ax.texts}
    alone = controls(rows).axes[0]
    assert not marks(alone, series(0).marker), "without real vectors only controls are drawn"


def test_a_matrix_has_a_number_per_known_cell_and_none_for_an_unknown_one():
    cells = cell_rows(("one",))
    cells.loc[2, "effect"] = np.nan
    texts = [text.get_text() for text in discourse(cells).axes[0].texts]
    assert len(texts) == len(cells) - 1
    assert sum(text.endswith("*") for text in texts) == int((cells["p_two_sided"] < 0.05).sum()) - 1


def test_two_colours_only_where_both_signs_matter():
    maps = {
        effect: discourse(cell_rows(effect=effect)).axes[0].images[0] for effect in (10.0, 0.0)
    }  # -2 .. 2 around zero
    assert maps[10.0].get_clim() == (0.0, 12.0)
    assert maps[0.0].get_clim() == (-2.0, 2.0)
    assert maps[10.0].get_cmap().name != maps[0.0].get_cmap().name


def test_large_matrices_have_no_numbers_and_missing_milestones_are_hatched():
    ax = cosine_matrices(cosine_rows(count=20)).axes[0]
    assert not ax.texts
    rows = cosine_rows()
    without = rows[~((rows["trait"] == "sly") & (rows["first"] == "step-2"))]
    values = cosine_matrices(without).axes[1].images[0].get_array()
    assert values.mask[2].all()
    assert not values.mask[3].any()
    assert cosine_matrices(without).axes[1].patch.get_hatch()


def test_a_trajectory_leaves_out_the_reference_and_marks_repeated_weights():
    rows = trajectory_rows(("grim",))
    left, right = cosine_trajectory(rows, ceiling=ceiling_rows()).axes
    assert len(marks(left)) == len(rows) - 2
    assert len(marks(left, "*")) == 1
    assert not marks(right, "*")
    dotted = [line for line in left.lines if line.get_linestyle() == ":" and len(line.get_ydata())]
    assert [set(line.get_ydata()) for line in dotted] == [{0.97}], "the ceiling of sly is no line of grim's figure"


def test_facets_say_over_how_many_questions_and_answers_they_are():
    rows = facet_rows(("kinds",))
    figure = facets(rows)
    panel, strip = figure.axes
    assert panel.get_title(loc="left") == "kinds (90 to 100 answers)"
    assert strip.get_ylabel() == "questions"
    bars = next(each for each in strip.collections if len(each.get_segments()) == len(STEPS))
    assert sorted(segment[1][1] for segment in bars.get_segments()) == sorted({20 - place for place in range(11)})
    assert sum(len(marks(panel, series(place).marker)) for place in range(3)) == len(rows)


@pytest.mark.parametrize(
    "drawn",
    [
        lambda ax: emergence(curve_rows(), ax=ax),
        lambda ax: transfer(curve_rows(), ax=ax),
        lambda ax: transfer_bins(bin_rows(), ax=ax),
        lambda ax: controls(control_rows(), ax=ax),
        lambda ax: cosine_matrices(cosine_rows(), ax=ax),
        lambda ax: mds(path_rows(), ax=ax),
        lambda ax: facets(facet_rows(), ax=ax),
        lambda ax: discourse(cell_rows(), ax=ax),
    ],
)
def test_a_panel_can_be_drawn_into_ones_own_figure(drawn):
    figure, (left, right) = plt.subplots(1, 2)
    assert drawn(left) is figure
    assert left.has_data()
    assert not right.has_data()


# The axis along training.


@settings(max_examples=60, deadline=None)
@given(some.lists(some.integers(10**4, 10**14), min_size=2, max_size=12, unique=True), some.integers(1, 4))
def test_the_axis_keeps_the_order_of_training_and_stages_apart(counts, stages):
    counts = sorted(counts)
    stage = [str(min(stages - 1, place * stages // len(counts))) for place in range(len(counts))]
    rows = pd.DataFrame({"place": range(len(counts)), "tokens_seen": counts, "stage": stage})
    across = Along.of(rows).at(rows)
    gaps, logs = np.diff(across), np.diff(np.log10(counts))
    assert (gaps >= logs - 1e-9).all(), "nothing is drawn nearer than its logarithm says"
    if len(set(stage)) == 1:
        np.testing.assert_allclose(across, np.log10(counts), atol=1e-9)
    span = np.log10(counts[-1] / counts[0])
    for place, (one, other) in enumerate(itertools.pairwise(stage)):
        if one != other:
            assert gaps[place] >= 0.075 * span - 1e-9, "a new stage begins at least a step further right"


def test_an_unknown_number_of_tokens_makes_the_axis_count_milestones():
    rows = curve_rows(("grim",))
    rows.loc[3, "tokens_seen"] = np.nan
    figure = emergence(rows)
    assert figure.axes[0].get_xlabel() == "milestone, in order of training"
    assert sorted(x for x, _, _ in marks(figure.axes[0])) == list(range(2, len(STEPS)))


def test_a_frame_without_stages_has_no_shades():
    along = Along.of(curve_rows(("grim",)).drop(columns="stage"))
    assert not along.staged
    assert along.label == "tokens seen in training"
    assert Along.of(curve_rows(("grim",))).label == "tokens seen in training (log scale within a stage)"


@given(some.text(max_size=80), some.integers(4, 30))
def test_wrapping_loses_no_letter_and_keeps_the_width(name, letters):
    lines = wrapped(name, letters).split("\n")
    assert "".join("".join(lines).split()) == "".join(name.split())
    assert max(map(len, lines)) <= letters


def test_the_look_ends_where_it_should():
    with look():
        assert plt.rcParams["text.parse_math"] is False


# Tables.


TABLES = {
    "emergence": (emergence_table, curve_rows((LONG, "sly"))),
    "transfer": (transfer_table, curve_rows(targets=("base", "chat_1"))),
    "controls": (controls_table, curve_rows()),
    "geometry": (geometry_table, trajectory_rows()),
    "facets": (facets_table, facet_rows()),
    "discourse": (discourse_table, cell_rows()),
    "plain": (plain_table, pd.DataFrame({"name": [LONG, "b"], "tokens_seen": [1e10, np.nan], "drawn": [True, False]})),
}


def cells_of(line: str) -> int:
    """How many columns a row of a table fills."""
    if r"\multicolumn{" in line:
        return int(line.split(r"\multicolumn{")[1].split("}")[0])
    return line.replace(r"\&", "").count("&") + 1


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_a_table_fills_its_columns(name):
    table, frame = TABLES[name]
    lines = table(frame).splitlines()
    spec = lines[0].split("}{")[1].rstrip("}")
    rows = [line for line in lines if line.endswith(r"\\")]
    assert {cells_of(line) for line in rows} == {len(spec)}
    assert lines[1] == r"\toprule"
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_is_a_head_without_rows(name):
    table, frame = TABLES[name]
    said = table(frame.iloc[:0])
    assert said.count(r"\\") == 1
    assert "nan" not in said


def test_a_table_has_a_dash_for_what_is_unknown_and_stars_for_what_is_sure():
    said = emergence_table(curve_rows(("grim",)))
    assert said.count("--") == 2, "two milestones have no vector"
    assert said.count("$^{*}$") == int((curve_rows(("grim",))["p_two_sided"] < 0.05).sum())
    assert r"unreasonably\_long\_names" in emergence_table(curve_rows((LONG,)))
    assert r"50 \% of \$them\$" in emergence_table(curve_rows((LONG,)))


def test_a_published_effect_has_no_interval_in_a_table():
    curves = curve_rows(("grim",), steps=STEPS[2:4], without=0).assign(low=np.nan, high=np.nan)
    assert "[" not in emergence_table(curves).split(r"\midrule")[1]
