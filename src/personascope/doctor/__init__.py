"""Proof, before a long run, that an engine does with a model what a study takes for granted.

Owns: :func:`examine`. The one law: it sees an engine through the port alone, so what holds for one engine is asked of
every other in the same words. ``specimens.py`` holds what is asked, ``checks.py`` what is looked at, ``findings.py``
what counts as noise.
"""

from __future__ import annotations

from collections.abc import Iterator

from personascope.doctor import checks
from personascope.doctor.findings import Finding, Oracle, noise_of, same_answers, same_readings
from personascope.doctor.specimens import LONG, WHERES, take_specimens
from personascope.engines import Engine


def examine(
    engine: Engine, *, against: Engine | None = None, oracle: Oracle | None = None, long_prompt: int = LONG
) -> Iterator[Finding]:
    """What is found of an engine with its model, one finding after another.

    First the engine by itself, then beside a second engine (``against``), then beside an ``oracle``, which can also say
    whether answers that differ do so by less than the noise. Only one of the three is loaded at a time, and each is
    closed when it has been heard. An engine that mixes up its answers is examined no further. ``long_prompt`` is how
    many tokens the longest prompt has, at most: one beyond a model's sliding window examines that too.

    Example:
        >>> from personascope import open_engine
        >>> next(examine(open_engine("lab"))).name
        'order'
    """
    noise = noise_of(engine)
    asked = take_specimens(engine, long_prompt=long_prompt)
    ordered = checks.answers_in_order(engine, asked)
    yield ordered
    if not ordered.passed:
        return
    yield checks.boundary_is_counted(engine, asked)
    alone = [engine.generate([each])[0] for each in asked.requests]
    readings = engine.read(asked.known)
    yield checks.readings_need_no_company(engine, asked, readings, noise)
    yield checks.zeros_change_no_answer(engine, asked, noise)
    yield checks.zeros_change_no_reading(engine, asked, noise)
    yield from (checks.edits_read_back(engine, asked, where, noise) for where in WHERES)
    yield checks.edits_at_every_token(engine, asked, noise)
    yield checks.edits_reach_answers(engine, asked, noise)
    yield checks.edits_move_answers(engine, asked)
    yield from checks.draws_repeat_and_differ(engine, asked, noise)
    yield checks.norms_grow(engine.read(asked.plain))
    likelihoods = engine.likelihoods(asked.known)
    engine.close()
    answered = [("batch: answers", alone, noise)]
    if against is not None:
        both = max(noise, noise_of(against), key=lambda each: each.numbers)
        yield checks.same_prompts(asked, against)
        yield same_readings("two engines: readings", against.read(asked.known), readings, both.numbers)
        answered.append(("two engines: answers", against.generate(asked.requests), both))
        against.close()
    for name, answers, allowed in answered:
        yield same_answers(name, asked.answers, answers, allowed, oracle)
    if oracle is not None:
        yield checks.layers_are_named_alike(oracle, asked, noise)
        yield same_readings("naive pass: readings", readings, oracle.read(asked.known), noise.numbers)
        yield checks.same_likelihoods(likelihoods, oracle.likelihoods(asked.known), noise)
        yield checks.answers_are_the_likeliest(oracle, asked, noise)
        oracle.close()
