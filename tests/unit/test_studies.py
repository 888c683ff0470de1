"""Study files, what they cost, and how they choose the way to steer."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import tomlkit
from personascope.studies.planning import plan_study
from personascope.studies.trace_study import load_study, run_study

from personascope.analysis.selection import selection_rows
from personascope.core.errors import LayerError, LineageError, StudyError, TraitError
from personascope.core.files import bundled
from personascope.core.records import UNASKED, Verdict
from personascope.core.traits import Trait
from personascope.engines.opening import Opener, open_lineage
from personascope.engines.scripted import ScriptedEngine, scripted_lineage
from personascope.figures.selection import selection_maps
from personascope.judges.scripted import ScriptedJudge
from personascope.tracing.operating_point import Grid
from personascope.tracing.tracing import Absence, Effect
from scripted_world import TRAITS

PUBLISHED = sorted(name for name in bundled("studies") if name.endswith("-emergence"))


def write_trait(trait: Trait, folder: Path) -> str:
    """A trait as the file a user would write."""
    path = folder / f"{trait.name}.toml"
    path.write_text(
        tomlkit.dumps(
            {
                "name": trait.name,
                "form": trait.form,
                "description": trait.description,
                "extraction_questions": list(trait.extraction_questions),
                "evaluation_questions": list(trait.evaluation_questions),
                "selection_questions": list(trait.selection_questions),
                "rubric": {"text": trait.rubric.text},
                "coherence": {"text": trait.coherence.text},
                "contrasts": [{"positive": each.positive, "negative": each.negative} for each in trait.contrasts],
            }
        )
    )
    return str(path)


@pytest.fixture
def table(tmp_path) -> dict:
    """A small study of two traits that leaves the way to steer open."""
    return {
        "kind": "trace",
        "name": "small",
        "lineage": "lab",
        "judge": "lab",
        "extraction": {"max_tokens": 24, "draws": 1},
        "evaluation": {"max_tokens": 24, "draws": 2},
        "selection": {
            "layers": [1, 4],
            "strengths": [0.2, 1.0, 6.0],
            "unit": "vector",
            "where": ["response", "prompt"],
        },
        "controls": {"random": 1, "shuffled": 1},
        "traits": [{"trait": write_trait(each, tmp_path)} for each in TRAITS],
    }


def load(table: dict, tmp_path: Path):
    path = tmp_path / "study.toml"
    path.write_text(tomlkit.dumps(table))
    return load_study(path)


def run(study, maturities=(0.0, 0.6, 1.0)):
    lineage, open_one = scripted_lineage(TRAITS, maturities)
    judge = ScriptedJudge(TRAITS)
    return run_study(study, lineage, study.load_traits(), open_engine=Opener(open_one), judge=judge), lineage, open_one


def test_a_study_chooses_how_to_steer_on_questions_it_does_not_evaluate(table, tmp_path):
    result, _, _ = run(load(table, tmp_path))
    assert [each.trait for each in result.selections] == ["grim", "merry"]
    for selection in result.selections:
        assert selection.steering.where == "response", "a push on the prompt alone does nothing here"
        assert len(selection.cells) == 2 * 3 * 2
        coherent = [cell for cell in selection.cells if cell.coherence >= 75]
        assert selection.steering == max(coherent, key=lambda cell: cell.trait).steering
        assert f"of the {len(coherent)} of 12 ways at or above coherence 75" in selection.reason
    garbled = [cell for each in result.selections for cell in each.cells if cell.coherence < 75]
    assert garbled, "the grid reaches strengths that garble, or the floor was not tested"
    asked = {answer.question for each in result.outcomes if isinstance(each, Effect) for answer in each.steered}
    assert asked == set(TRAITS[0].evaluation_questions)


def test_other_places_in_the_text_are_reported_beside_the_chosen_one_without_controls(table, tmp_path):
    result, _, _ = run(load(table, tmp_path))
    last = [each for each in result.outcomes if isinstance(each, Effect) and each.milestone.label == "step-2"]
    arms = [
        (each.vector.origin, each.steering.where, each.chosen) for each in last if each.subject.extract.name == "grim"
    ]
    assert arms == [
        ("extracted", "response", True),
        ("random-0", "response", True),
        ("shuffled-0", "response", True),
        ("extracted", "prompt", False),
    ]


def test_choosing_and_tracing_load_each_checkpoint_once(table, tmp_path):
    _, lineage, open_one = run(load(table, tmp_path))
    assert [open_one(each.checkpoint).loads for each in lineage] == [1, 1, 1]


def test_a_coherence_nothing_reaches_is_said(table, tmp_path):
    table["selection"] |= {"coherence_floor": 101.0}
    result, _, _ = run(load(table, tmp_path))
    assert "no way of 12 reaches coherence 101, so the most coherent" in result.selections[0].reason


def test_without_a_vector_to_choose_with_the_weakest_way_is_taken_and_said(table, tmp_path):
    result, _, _ = run(load(table, tmp_path), maturities=(1.0, 0.0))
    selection = result.selections[0]
    assert "no vector to choose with (0 of 12 pairs kept" in selection.reason
    assert selection.reason.endswith(", at step-1")
    assert selection.steering.strength == 0.2


def test_a_plan_counts_what_a_run_asks_for(table, tmp_path):
    study = load(table, tmp_path)
    counted = {"response": 0, "verdict": 0}

    class Counting(ScriptedJudge):
        def score(self, cases):
            counted["verdict"] += len(cases)
            return super().score(cases)

    class CountingEngine(ScriptedEngine):
        def generate(self, requests, *, read=False):
            counted["response"] += len(requests)
            return super().generate(requests, read=read)

    lineage, _ = scripted_lineage(TRAITS, (1.0, 1.0))
    opener = Opener(lambda checkpoint: CountingEngine(checkpoint, TRAITS))
    run_study(study, lineage, study.load_traits(), open_engine=opener, judge=Counting(TRAITS))
    planned = plan_study(study, lineage)
    # What is chosen with is asked for again by the trace; a store remembers it.
    twice = (planned.instructed + planned.plain) // 2
    assert planned.responses == counted["response"] - twice
    assert planned.verdicts == counted["verdict"] - planned.instructed // 2 * 2


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_studies_name_only_what_exists_and_give_a_reason_for_every_number(name):
    study = load_study(name)
    lineage = study.cut(open_lineage(study.lineage))
    assert len(lineage) == 15
    assert not {each.same_weights_as for each in lineage} & {each.label for each in lineage}, "an alias counts twice"
    assert plan_study(study, open_lineage(study.lineage)).steered > 0
    for chosen in study.traits:
        assert chosen.points[0].from_tokens == 0
        assert all(point.reason and point.steering.unit == "residual" for point in chosen.points)


def test_an_operating_point_changes_along_the_lineage():
    study = load_study("apertus-8b-emergence")
    evil = next(each for each in study.traits if each.trait == "evil")
    from personascope.tracing.tracing import Subject

    subject = Subject(TRAITS[0], evil.points, TRAITS[0])
    strengths = {each.label: subject.point(each).steering.strength for each in open_lineage("apertus-8b")}
    assert strengths["step1000000-tokens4200B"] == 0.2
    assert strengths["step1200000-tokens5040B"] == 0.5


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"judg": "lab"}, StudyError, "unknown key 'judg'; did you mean 'judge'"),
        (
            {"selection": {"layers": [1], "strengths": [1.0], "unit": "vector", "floor": 1}},
            StudyError,
            "selection.floor",
        ),
        ({"extraction": {"draw": 1}}, StudyError, "unknown key 'extraction.draw'; did you mean 'draws'"),
        ({"kind": "sweep"}, StudyError, "kind 'sweep'"),
        ({"traits": []}, StudyError, "names no trait"),
        ({"selection": None}, StudyError, "has no points and there is no"),
        ({"evaluation": {"temperature": -1}}, StudyError, "temperature -1"),
        ({"evaluation": {"temperature": math.nan}}, StudyError, "temperature nan"),
        ({"bar": {"trait": math.nan}}, StudyError, "a bar of trait nan"),
        ({"name": "a/b"}, StudyError, "study 'a/b' cannot name a file"),
        ({"controls": {"random": -1}}, StudyError, "-1 random"),
        ({"selection": {"layers": [], "strengths": [1.0], "unit": "vector"}}, StudyError, "nothing to choose from"),
        ({"selection": {"layers": [1], "strengths": [1.0], "unit": "vector", "draws": 0}}, StudyError, "0 draws"),
        ({"selection": {"layers": [1], "strengths": [1.0], "unit": "metres"}}, StudyError, "selection.unit"),
        ({"traits": [{"trait": "evl", "extract": "character"}]}, TraitError, "did you mean 'character/evil'"),
    ],
)
def test_what_a_study_file_gets_wrong_is_said_in_one_line(table, tmp_path, change, error, said):
    changed = {name: value for name, value in (table | change).items() if value is not None}
    with pytest.raises(error) as caught:
        run(load(changed, tmp_path))
    message = str(caught.value)
    assert said in message, message
    assert "\n" not in message


def test_the_same_trait_twice_is_refused_because_its_answers_would_count_twice(table, tmp_path):
    with pytest.raises(StudyError, match="traces 'grim' twice in the same forms"):
        run(load(table | {"traits": [table["traits"][0]] * 2}, tmp_path))


def test_two_evaluations_of_one_trait_are_chosen_for_apart(table, tmp_path):
    other = replace(TRAITS[0], form="other", contrasts=TRAITS[1].contrasts)
    (tmp_path / "other").mkdir()
    entry = {"trait": write_trait(other, tmp_path / "other"), "evaluate": table["traits"][0]["trait"]}
    alone, _, _ = run(load(table | {"traits": [table["traits"][0]]}, tmp_path))
    both, _, _ = run(load(table | {"traits": [table["traits"][0], entry]}, tmp_path))
    assert len(both.selections) == 2
    assert both.selections[0] == alone.selections[0], "what another entry finds must not choose for this one"


def test_a_missing_last_milestone_leaves_the_choice_to_the_one_before(table, tmp_path):
    result, _, _ = run(load(table, tmp_path), maturities=(0.6, 1.0, None))
    assert all(each.reason.endswith(", at step-1") for each in result.selections)
    assert [each.kind for each in result.outcomes if isinstance(each, Absence)] == ["no checkpoint"] * 2


def test_an_operating_point_that_starts_too_late_is_refused_before_anything_is_asked(table, tmp_path):
    point = {"steering": {"layer": 2, "strength": 1.0, "unit": "vector"}, "from_tokens": 10**7}
    study = load(table | {"traits": [table["traits"][0] | {"points": [point]}]}, tmp_path)
    lineage, open_one = scripted_lineage(TRAITS, (1.0, 1.0))
    judge = ScriptedJudge(TRAITS)
    with pytest.raises(StudyError, match="no operating point at step-0"):
        run_study(study, lineage, study.load_traits(), open_engine=open_one, judge=judge)
    assert judge.asked == 0


def test_a_norm_that_cannot_be_measured_is_an_absence_and_the_rest_goes_on(table, tmp_path):
    """A checkpoint that answers nothing has vectors' pairs dropped and no residual norm: the others still count."""

    class Mute(ScriptedEngine):
        def generate(self, requests, *, read=False):
            def muted(response):
                mute = response.request.text in TRAITS[0].evaluation_questions
                return replace(response, tokens=response.tokens[: response.response_start]) if mute else response

            return [muted(response) for response in super().generate(requests, read=read)]

    point = {"steering": {"layer": 2, "strength": 0.5, "unit": "residual"}}
    study = load(table | {"traits": [table["traits"][0] | {"points": [point]}]}, tmp_path)
    lineage, open_one = scripted_lineage(TRAITS, (1.0, 1.0))
    engines = {lineage.milestones[0].checkpoint: Mute(lineage.milestones[0].checkpoint, TRAITS)}
    result = run_study(
        study,
        lineage,
        study.load_traits(),
        open_engine=lambda checkpoint: engines.get(checkpoint) or open_one(checkpoint),
        judge=ScriptedJudge(TRAITS),
    )
    absent = [each for each in result.outcomes if isinstance(each, Absence)]
    assert [(each.kind, each.milestone.label) for each in absent] == [("no scale", "step-0")]
    assert any(isinstance(each, Effect) and each.milestone.label == "step-1" for each in result.outcomes)


def test_files_a_study_names_are_found_beside_it_from_anywhere(table, tmp_path, monkeypatch):
    traits = [{"trait": Path(each["trait"]).name} for each in table["traits"]]
    study_file = tmp_path / "study.toml"
    study_file.write_text(tomlkit.dumps(table | {"traits": traits}))
    monkeypatch.chdir("/")
    assert [extract.name for extract, _ in load_study(study_file).load_traits()] == ["grim", "merry"]


def test_a_form_that_contradicts_a_traits_file_is_refused(table, tmp_path):
    changed = table | {"traits": [table["traits"][0] | {"evaluate": "character"}]}
    with pytest.raises(StudyError, match="describes the form 'scripted', and 'character' was asked for"):
        run(load(changed, tmp_path))


def test_an_answer_nobody_could_score_counts_against_a_way_to_steer(table, tmp_path):
    class Blind(ScriptedJudge):
        """Cannot read most answers of the strongest way, and likes the rest."""

        def score(self, cases):
            verdicts = super().score(cases)
            garbled = ["###" in case.answer for case in cases]
            return [Verdict("unreadable", reason="garble") if g else v for g, v in zip(garbled, verdicts, strict=True)]

    study = load(table, tmp_path)
    lineage, open_one = scripted_lineage(TRAITS, (1.0,))
    result = run_study(study, lineage, study.load_traits(), open_engine=open_one, judge=Blind(TRAITS))
    strongest = [cell for each in result.selections for cell in each.cells if cell.steering.strength == 6.0]
    assert any(cell.coherence < 75 for cell in strongest), "unreadable answers must lower a way's coherence"
    assert all(each.steering.strength < 6.0 for each in result.selections)


def test_a_verdict_nobody_gave_has_no_say_in_the_choice_and_is_told_of(table, tmp_path):
    """A budget that ends while ways are tried must not pass for incoherence."""

    class Poor(ScriptedJudge):
        def score(self, cases):
            later = [case.question in TRAITS[0].selection_questions for case in cases]
            return [UNASKED if late else v for late, v in zip(later, super().score(cases), strict=True)]

    study = load(table, tmp_path)
    lineage, open_one = scripted_lineage(TRAITS, (1.0,))
    result = run_study(study, lineage, study.load_traits(), open_engine=open_one, judge=Poor(TRAITS))
    selection = result.selections[0]
    assert all(math.isnan(cell.trait) and math.isnan(cell.coherence) for cell in selection.cells), "unknown is not 0"
    assert selection.steering == study.selection.cells()[0]
    assert "the grid's weakest way" in selection.reason
    assert "verdicts could not be had" in selection.reason
    selection_maps(selection_rows(result.selections), floor=75)


def test_a_grid_with_a_layer_the_model_lacks_is_refused_before_anything_is_asked(table, tmp_path):
    table["selection"]["layers"] = [1, 9]
    with pytest.raises(LayerError, match="layer 9 asked of scripted@step-1, which has 4 blocks"):
        run(load(table, tmp_path), maturities=(1.0, 1.0))


def test_unknown_names_are_answered_with_the_nearest(table, tmp_path):
    with pytest.raises(StudyError, match="did you mean 'olmo-3-7b-emergence'"):
        load_study("olmo-3-7b-emergance")
    study = load(table | {"milestones": ["step-9"]}, tmp_path)
    with pytest.raises(LineageError, match="milestone 'step-9' is not in lineage 'scripted'; did you mean 'step-"):
        run(study)
    with pytest.raises(LineageError, match="target 'rl' is not one of lineage"):
        run(replace(load(table, tmp_path), target="rl"))


def test_equal_ways_to_steer_leave_the_weakest():
    grid = Grid(layers=(1, 2), strengths=(3.0, 1.0), unit="vector")
    assert [(each.strength, each.layer) for each in grid.cells()] == [(1.0, 1), (1.0, 2), (3.0, 1), (3.0, 2)]
    against = Grid(layers=(1,), strengths=(-3.0, -1.0), unit="vector")
    assert [each.strength for each in against.cells()] == [-1.0, -3.0], "weak is near zero, whatever the sign"
