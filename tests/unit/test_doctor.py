"""The doctor: sound engines pass, and every way an engine was broken on purpose is found and named."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import toy_models
from personascope.core.lineages import Checkpoint
from personascope.core.records import Edit, Probe, Readings, Request, Response, Sampling
from personascope.doctor import examine
from personascope.doctor.checks import layers_are_named_alike
from personascope.doctor.findings import NOISE, Finding, same_answers, same_readings
from personascope.doctor.specimens import take_specimens
from personascope.engines import Engine
from personascope.engines.hf.engine import TransformersEngine
from personascope.engines.hf.reference import NaiveEngine
from personascope.engines.scripted import ScriptedEngine
from scripted_world import TRAITS

transformers.utils.logging.disable_progress_bar()

SCRIPTED_ITSELF = {"edit moves"}  # only edits along a planted direction move what the scripted engine says


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    @functools.cache
    def checkpoint(architecture: str) -> Checkpoint:
        return Checkpoint.at(toy_models.build(tmp_path_factory.mktemp(architecture), architecture))

    return checkpoint


def wrong(findings: Sequence[Finding]) -> set[str]:
    return {finding.name for finding in findings if not finding.passed}


class Broken:
    """An engine that hands everything on, but for what a subclass breaks."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def moved(edits: Sequence[Edit], how: Callable[[Edit], Sequence[Edit]]) -> tuple[Edit, ...]:
    return tuple(each for edit in edits for each in how(edit))


class ReadsEditsElsewhere(Broken):
    """Changes the edits of what is read."""

    def read(self, responses: Sequence[Response]) -> Readings:
        changed = [replace(each.request, edits=moved(each.request.edits, self.how)) for each in responses]
        pairs = zip(responses, changed, strict=True)
        return self.engine.read([replace(each, request=request) for each, request in pairs])


class SaysEditsElsewhere(Broken):
    """Changes the edits of what is generated."""

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        changed = [replace(each, edits=moved(each.edits, self.how)) for each in requests]
        pairs = zip(self.engine.generate(changed), requests, strict=True)
        return [replace(each, request=request) for each, request in pairs]


def one_layer_up(self: Broken, edit: Edit) -> Sequence[Edit]:
    return [replace(edit, layer=min(edit.layer + 1, self.engine.last_layer))]


def not_at_the_last_prompt_token(self: Broken, edit: Edit) -> Sequence[Edit]:
    # All tokens but those of the other place: the last prompt token belongs to both.
    other = {"response": "prompt", "prompt": "response"}.get(edit.where)
    return (
        [edit] if other is None else [replace(edit, where="all"), replace(edit, direction=-edit.direction, where=other)]
    )


def nowhere(self: Broken, edit: Edit) -> Sequence[Edit]:
    return []


def half_as_long(self: Broken, edit: Edit) -> Sequence[Edit]:
    return [replace(edit, direction=edit.direction / 2)]


def twice(self: Broken, edit: Edit) -> Sequence[Edit]:
    return [edit, edit]


def zeros_are_ones(self: Broken, edit: Edit) -> Sequence[Edit]:
    return [edit if edit.direction.any() else replace(edit, direction=edit.direction + 1)]


def breaking(base: type[Broken], how: Callable[..., Sequence[Edit]]) -> type[Broken]:
    return type(f"{base.__name__}_{how.__name__}", (base,), {"how": how})


class SwapsAnswers(Broken):
    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        return self.engine.generate(requests)[::-1]


class SwapsWordsUnderTheirRequests(Broken):
    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        answers = self.engine.generate(requests)
        return [replace(each, request=request) for each, request in zip(answers[::-1], requests, strict=True)]


class LosesAnAnswer(Broken):
    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        answers = self.engine.generate(requests)
        return answers[:-1] if len(answers) > 1 else answers


class AnswersByCompany(Broken):
    """A row in company is pushed, as by a mask that is off."""

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        push = Edit(np.linspace(-3, 3, self.engine.hidden_size), self.engine.last_layer)
        crowded = [replace(each, edits=(*each.edits, push)) for each in requests] if len(requests) > 1 else requests
        pairs = zip(self.engine.generate(crowded), requests, strict=True)
        return [replace(each, request=request) for each, request in pairs]


class ReadsByCompany(Broken):
    """A row alone is read a thousandth larger."""

    def read(self, responses: Sequence[Response]) -> Readings:
        readings = self.engine.read(responses)
        return replace(readings, prompt=readings.prompt * (1.001 if len(readings) == 1 else 1))


class ReadsOneTokenLate(Broken):
    def read(self, responses: Sequence[Response]) -> Readings:
        return self.engine.read([replace(each, response_start=each.response_start + 1) for each in responses])


class ReadsNoNorm(Broken):
    def read(self, responses: Sequence[Response]) -> Readings:
        readings = self.engine.read(responses)
        return replace(readings, norms=np.full_like(readings.norms, np.nan))


class CutsThePromptShort(Broken):
    """The published fault: the answer begins with the last tokens of its own prompt."""

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        answers = self.engine.generate(requests)
        return [replace(each, response_start=max(1, each.response_start - 3)) for each in answers]


class SaysThePromptsTail(Broken):
    """The same fault in the text alone."""

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        answers = self.engine.generate(requests)
        return [replace(each, text=f"{each.request.text[-9:]} {each.text}") for each in answers]


class ForgetsTheDraw(Broken):
    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        pairs = zip(self.engine.generate([replace(each, draw=0) for each in requests]), requests, strict=True)
        return [replace(each, request=request) for each, request in pairs]


class NeverDrawsAgain(Broken):
    calls = 0

    def generate(self, requests: Sequence[Request], *, read: bool = False) -> list[Response]:
        self.calls += 1
        others = [replace(each, draw=self.calls) for each in requests]
        return [
            replace(each, request=request) for each, request in zip(self.engine.generate(others), requests, strict=True)
        ]


class MissesOneToken(Broken):
    """Leaves one token of every edited text as it is: 1/30 of a mean, which eight bits do not show."""

    def project(self, responses: Sequence[Response], probes: Sequence[Probe]) -> list[np.ndarray]:
        plain = [replace(each, request=replace(each.request, edits=())) for each in responses]
        found = self.engine.project(responses, probes)
        for changed, unchanged in zip(found, self.engine.project(plain, probes), strict=True):
            changed[30:31] = unchanged[30:31]
        return found


class HearsTheNextToken(Broken):
    def likelihoods(self, responses: Sequence[Response]) -> list[np.ndarray]:
        return [np.roll(each, -1) for each in self.engine.likelihoods(responses)]


EDITS_READ = {"edit read: response", "edit read: prompt", "edit read: all"}


@pytest.mark.parametrize(
    ("broken", "named", "others"),
    [
        (breaking(ReadsEditsElsewhere, one_layer_up), EDITS_READ, set()),
        (breaking(ReadsEditsElsewhere, not_at_the_last_prompt_token), EDITS_READ - {"edit read: all"}, set()),
        (breaking(ReadsEditsElsewhere, nowhere), EDITS_READ, set()),
        (breaking(ReadsEditsElsewhere, half_as_long), EDITS_READ, set()),
        (breaking(ReadsEditsElsewhere, twice), EDITS_READ, set()),
        (breaking(ReadsEditsElsewhere, zeros_are_ones), {"zero edit: readings"}, set()),
        (SwapsAnswers, {"order"}, set()),
        (LosesAnAnswer, {"order"}, set()),
        (SwapsWordsUnderTheirRequests, {"boundary", "batch: answers"}, set()),
        (ReadsByCompany, {"batch: readings"}, set()),
        (ReadsOneTokenLate, EDITS_READ, set()),
        (MissesOneToken, {"edit at each token"}, set()),
        (ReadsNoNorm, {"norms"}, {"batch: readings", "zero edit: readings"}),
        (CutsThePromptShort, {"boundary"}, set()),
        (SaysThePromptsTail, {"boundary"}, set()),
        (ForgetsTheDraw, {"draws differ"}, set()),
        (NeverDrawsAgain, {"draws repeat"}, set()),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)
def test_a_fault_the_port_can_see_is_named_and_nothing_else_is_blamed(
    broken: type[Broken], named: set[str], others: set[str]
) -> None:
    engine: Any = broken(ScriptedEngine(Checkpoint("scripted"), TRAITS, maturity=0.5))
    assert wrong(list(examine(engine, long_prompt=40))) - SCRIPTED_ITSELF == named | others


def test_the_scripted_engine_is_sound_but_for_what_it_says_of_itself() -> None:
    findings = list(examine(ScriptedEngine(Checkpoint("scripted"), TRAITS)))
    assert wrong(findings) == SCRIPTED_ITSELF
    assert len(findings) == len({finding.name for finding in findings}) == 15


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (breaking(SaysEditsElsewhere, one_layer_up), {"naive pass: answers"}),
        (
            breaking(SaysEditsElsewhere, not_at_the_last_prompt_token),
            {"edit said", "edit moves", "naive pass: answers"},
        ),
        (breaking(SaysEditsElsewhere, nowhere), {"edit moves", "naive pass: answers"}),
        (AnswersByCompany, {"batch: answers", "naive pass: answers"}),
        (HearsTheNextToken, {"naive pass: likelihoods"}),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)
def test_what_the_port_alone_cannot_see_is_named_beside_a_naive_pass(
    toy: Any, broken: type[Broken], named: set[str]
) -> None:
    engine: Any = broken(TransformersEngine(toy("Llama")))
    found = wrong(list(examine(engine, oracle=NaiveEngine(toy("Llama")), long_prompt=40)))
    assert named == found, f"{broken.__name__} was found as {found or 'nothing'}"


@pytest.mark.parametrize(("architecture", "dtype"), [("Olmo3", "float32"), ("Gemma3Text", "bfloat16")])
def test_a_sound_engine_passes_on_toy_models(toy: Any, architecture: str, dtype: str) -> None:
    engine, oracle = (each(toy(architecture), dtype=dtype) for each in (TransformersEngine, NaiveEngine))
    findings = list(examine(engine, oracle=oracle, long_prompt=100))
    assert not wrong(findings), [finding for finding in findings if not finding.passed]
    assert len(findings) == 19


def test_a_single_token_that_is_missed_is_found_in_eight_bits_too(toy: Any) -> None:
    engine: Any = MissesOneToken(TransformersEngine(toy("Llama"), dtype="bfloat16"))
    assert wrong(list(examine(engine, long_prompt=500))) == {"edit at each token"}


class CountsLayersOneHigher(Broken):
    """What transformers calls layer k+1 is called k: an engine that does so too would read and write alike."""

    def layers_apart(self, responses: Sequence[Response]) -> np.ndarray:
        means = self.engine.read(responses).prompt
        return np.linalg.norm(np.diff(means, axis=1), axis=-1) / np.linalg.norm(means[:, 1:], axis=-1)


class GivesNoLayers(Broken):
    def layers_apart(self, responses: Sequence[Response]) -> np.ndarray:
        return np.full((len(responses), self.engine.last_layer), np.nan)


def test_layers_are_held_against_the_names_transformers_gives_them(toy: Any) -> None:
    naive: Any = NaiveEngine(toy("Llama"))
    asked = take_specimens(naive, long_prompt=40)
    found = [layers_are_named_alike(each, asked, NOISE["float32"]) for each in (naive, CountsLayersOneHigher(naive))]
    assert [each.passed for each in found] == [True, False]
    unknown = layers_are_named_alike(GivesNoLayers(naive), asked, NOISE["float32"])
    assert unknown.what.startswith("not examined"), "a witness that is absent is no fault, and is said to be absent"
    assert unknown.passed


def test_two_engines_are_compared_by_the_noise_of_the_coarser(toy: Any) -> None:
    fine, coarse = (TransformersEngine(toy("Llama"), dtype=dtype) for dtype in ("float32", "bfloat16"))
    findings = list(examine(fine, against=coarse, oracle=NaiveEngine(toy("Llama")), long_prompt=40))
    allowed = {finding.name: finding.allowed for finding in findings}
    assert not wrong(findings), [finding for finding in findings if not finding.passed]
    assert allowed["two engines: readings"] > allowed["batch: readings"]


def test_two_engines_of_other_weights_or_other_tokens_are_told_apart() -> None:
    first = ScriptedEngine(Checkpoint("scripted"), TRAITS)
    others: Any = PutsATokenFirst(first)
    assert "two engines: prompts" in wrong(list(examine(first, against=others, long_prompt=40)))
    talking: Any = SaysThePromptsTail(first)
    assert wrong(list(examine(first, against=talking, long_prompt=40))) - SCRIPTED_ITSELF == {"two engines: answers"}
    apart: Any = ReadsOneTokenLate(first)
    assert wrong(list(examine(first, against=apart, long_prompt=40))) - SCRIPTED_ITSELF == {"two engines: readings"}


class PutsATokenFirst(Broken):
    def encode(self, responses: Sequence[Response]) -> list[Response]:
        found = self.engine.encode(responses)
        return [replace(each, tokens=(7, *each.tokens), response_start=each.response_start + 1) for each in found]


class Judging:
    """An oracle that finds every token so far below the likeliest."""

    def __init__(self, shortfall: float) -> None:
        self.shortfall = shortfall

    def shortfalls(self, responses: Sequence[Response]) -> list[np.ndarray]:
        return [np.full(each.length, self.shortfall) for each in responses]


def test_answers_that_differ_are_excused_only_where_an_oracle_finds_both_as_likely() -> None:
    def answer(*tokens: int, text: str = "") -> Response:
        return Response(Request("who?", Sampling()), (1, 2, *tokens), 2, text, "length")

    def found(ours: Response, theirs: Response, oracle: Any = None, dtype: str = "float32") -> Finding:
        return same_answers("x", [ours] * 10, [theirs] + [ours] * 9, NOISE[dtype], oracle)

    assert not found(answer(3), answer(4)).passed
    assert found(answer(3), answer(4), dtype="bfloat16").passed, "a tenth may differ where nobody can say by how little"
    assert found(answer(3), answer(4), Judging(1e-6)).passed
    assert found(answer(3), answer(4), Judging(1e-6)).what.endswith("(1 differ)")
    assert not found(answer(3), answer(4), Judging(1e-2)).passed
    assert found(answer(3), answer(4), Judging(1e-2), "bfloat16").passed
    assert not found(answer(3), answer(4), Judging(0.5), "bfloat16").passed
    assert not found(answer(3), answer(3, text="other words"), Judging(0.0)).passed, "the same tokens are the same text"
    shifted = replace(answer(3), response_start=1)
    assert not found(answer(3), shifted, Judging(0.0)).passed, "a boundary is no matter of rounding"


def test_a_reading_that_is_no_number_never_passes() -> None:
    engine = ScriptedEngine(Checkpoint("scripted"), TRAITS)
    readings = engine.read(engine.generate([Request("who?", Sampling(max_tokens=6))]))
    for name in ("response", "prompt", "last_prompt", "norms"):
        spoiled = getattr(readings, name).copy()
        spoiled[0, 1] = np.nan
        finding = same_readings("x", replace(readings, **{name: spoiled}), readings, 1.0)
        assert not finding.passed
        assert f"layer 1, {name}" in finding.what


def test_the_lab_is_sound_and_its_table_says_so(run: Any) -> None:
    code, said, message = run("doctor", "lab", "--long-prompt", 60)
    assert code == 0, message
    assert "nothing found wrong" in said
    assert "WRONG" not in said
    for name in ("edit read: response", "naive pass: answers", "batch: readings"):
        assert name in said


def test_a_model_that_no_edit_can_move_is_named_and_the_exit_code_is_1(run: Any, tmp_path: Path) -> None:
    folder = toy_models.build(tmp_path / "deaf", "Llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    model.save_pretrained(folder)
    code, said, message = run("doctor", folder, "--long-prompt", 40, "--against", "naive", "--json")
    assert code == 1, message
    found = json.loads(said)
    named = {each["name"] for each in found["findings"] if not each["passed"]}
    assert (found["engine"], found["dtype"], found["passed"]) == ("transformers", "float32", False)
    assert named == {"edit moves", "naive pass: answers"}, (
        "all logits are alike: no answer moves, and none is likeliest"
    )


def test_an_engine_nobody_knows_is_refused(run: Any) -> None:
    for option in ("--engine", "--against"):
        code, _, message = run("doctor", "lab", option, "naiv")
        assert code == 1
        assert "did you mean 'naive'?" in message
