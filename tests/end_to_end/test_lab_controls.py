"""Controls and operations on the lab, where the truth is known: what docs/controls.md says, in small."""

from __future__ import annotations

import numpy as np
import pytest

import personascope as ps
from personascope.analysis.controls import against_controls, pooled_controls
from personascope.core.traits import Prompt
from personascope.engines.opening import Opener
from personascope.tracing.controls import with_permutations
from personascope.tracing.extraction import Method
from personascope.tracing.generation import Arm, answer

SAMPLING = ps.Sampling(max_tokens=32, temperature=1.0, repetition_penalty=1.0, draws=1)
TRAITS = [ps.load_trait(name, form="lab").limited(10) for name in ("cruel", "flattering")]


@pytest.fixture(scope="module")
def outcomes():
    lineage = ps.load_lineage("lab").only(("step-02000",))
    method, opener = Method(SAMPLING, SAMPLING, prompted=True), Opener(ps.open_engine)
    return with_permutations(
        lineage,
        [ps.Subject.of(trait, ps.Steering(2, 1.5, "vector")) for trait in TRAITS],
        ps.Controls(random=4, orthogonal=8, other_traits=True, prompted=True, permutations=20),
        seed=0,
        tracing=lambda some, subjects, directions: ps.trace(
            some, subjects, open_engine=opener, judge=ps.open_judge("lab"), method=method, direction=directions
        ),
    )


def test_real_vectors_stand_above_matched_controls_and_all_their_permutations(outcomes):
    effects = ps.effects(ps.answer_rows(outcomes))
    pooled = pooled_controls(effects).set_index("kind")
    for kind in ("random", "orthogonal"):
        assert abs(pooled.loc[kind, "mean"]) < 10, f"{kind} directions of the same norm do little on average"
        assert pooled.loc[kind, "matched"]
    table = against_controls(effects).set_index(["curve", "kind"])
    for trait in TRAITS:
        assert table.loc[(trait.name, "random"), "real"] > table.loc[(trait.name, "random"), "greatest"] + 10
        own = table.loc[(trait.name, "shuffled")]
        assert (own["count"], own["quantile"]) == (20, 1.0)
        assert own["p_greater"] == pytest.approx(1 / 21)
        assert table.loc[(trait.name, "shuffled-renormed"), "matched"]
        assert table.loc[(trait.name, "prompted-positive"), "mean"] > 20, "an instruction alone does it too"


def test_capping_at_what_plain_answers_show_takes_an_instructions_effect_away_and_keeps_coherence(outcomes):
    engine, judge, trait = ps.open_engine("lab"), ps.open_judge("lab"), TRAITS[0]
    found = next(each for each in outcomes if isinstance(each, ps.Effect) and each.subject.extract.name == trait.name)
    read = engine.read([each.response for each in found.plain])
    capped = ps.Steering((1, 2, 3, 4), 0.5, "quantile", "all", operation="cap")
    instructed = tuple(Prompt(q, each.positive) for q in trait.evaluation_questions for each in trait.contrasts[:2])
    said = answer(
        {
            name: Arm(engine, trait, instructed, SAMPLING, edits)
            for name, edits in {"free": (), "capped": capped.along(found.vector, plain=read.response)}.items()
        },
        judge=judge,
    )
    means = {name: np.nanmean([each.trait.score for each in some]) for name, some in said.items()}
    assert means["capped"] < means["free"] - 30, means
    assert np.nanmean([each.coherence.score for each in said["capped"]]) > 90
