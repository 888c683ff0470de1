"""What is looked at: one small function for each thing a study takes for granted of an engine.

Owns: the checks. The one law: each knows the port alone, and gives the number it measured beside the one it allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float

from personascope.core.records import Edit, Probe, Readings, Request, Response, Sampling, Span, Where
from personascope.doctor.findings import Finding, Noise, Oracle, finding_of, largest, same_answers, same_readings
from personascope.doctor.specimens import SPANS, WHERES, Specimens, followed, prompt_of
from personascope.engines import Engine

MOST_GROWTH: Final = 1000.0
"""How much the mean norm of the residual stream may grow or shrink from one layer to the next. Published norms of
OLMo-3-7B grow 73 times over the first block at step 1,000; the lab's last checkpoint 29 times."""

TAIL: Final = 6
"""Letters from which on the end of a prompt, said again, is no accident."""

DRAWN: Final = Sampling(max_tokens=12, temperature=1.0, repetition_penalty=1.0)


def answers_in_order(engine: Engine, asked: Specimens) -> Finding:
    """As many answers as requests, in their order, and none to none."""
    given = [each.request for each in asked.answers]
    wrong = sum(ours is not theirs for ours, theirs in zip(given, asked.requests, strict=False))
    wrong += abs(len(given) - len(asked.requests)) + len(engine.generate([]))
    what = f"answers of {len(asked.requests)} mixed requests that are missing, too many or another's"
    return finding_of("order", wrong, 0, what)


def boundary_is_counted(engine: Engine, asked: Specimens) -> Finding:
    """Before the boundary the tokens of the prompt, after it at most as many as asked for, and none of the prompt."""
    encoded = engine.encode([prompt_of(each) for each in asked.requests])
    faults = 0
    for response, prompt in zip(asked.answers, encoded, strict=True):
        tokens, start = response.spoken
        limit = response.request.drawn_with.max_tokens
        counted = tokens[:start] == prompt.tokens and response.length <= limit
        ended = response.finish == "stop" or response.length == limit
        faults += not (counted and ended) or _repeats_prompt(engine, response)
    lengths = [each.spoken[1] for each in encoded]
    what = (
        f"of {len(encoded)} answers, those that do not begin where their prompt ends; "
        f"prompts of {min(lengths)} to {max(lengths)} tokens"
    )
    return finding_of("boundary", faults, 0, what)


def _repeats_prompt(engine: Engine, response: Response) -> bool:
    """Whether the text of an answer holds its prompt's tail although its tokens do not.

    A model may well say its prompt's tail again; its text then has no more tokens than were drawn.
    """
    prompt = response.request.text
    if not any(response.words.startswith(prompt[-size:]) for size in range(TAIL, len(prompt) + 1)):
        return False
    return engine.encode([replace(response, tokens=None, response_start=None)])[0].length > response.length


def readings_need_no_company(engine: Engine, asked: Specimens, together: Readings, noise: Noise) -> Finding:
    """The readings of a mixed batch are those of its responses read one by one."""
    alone = Readings.joined([engine.read([each]) for each in asked.known])
    return same_readings("batch: readings", together, alone, noise.numbers)


def zeros_change_no_answer(engine: Engine, asked: Specimens, noise: Noise) -> Finding:
    """An edit of zeros is no edit."""
    plain = [Request(text, asked.sampling) for text in asked.texts]
    zeros = [replace(each, edits=asked.zeros) for each in plain]
    return same_answers("zero edit: answers", engine.generate(zeros), engine.generate(plain), noise)


def zeros_change_no_reading(engine: Engine, asked: Specimens, noise: Noise) -> Finding:
    """An edit of zeros is no edit."""
    zeros = [followed(each, *asked.zeros) for each in asked.plain]
    return same_readings("zero edit: readings", engine.read(zeros), engine.read(asked.plain), noise.numbers)


def edits_read_back(engine: Engine, asked: Specimens, where: Where, noise: Noise) -> Finding:
    """Adding v at a layer reads v there, at the tokens it was meant for and no others, and nothing before it.

    At every layer after a short prompt, at the first, middle and last after a long one and after every single token of
    an answer. The distances are relative to the length of v and of what it is added to.
    """
    plain, places = asked.places_to_edit()
    moved = [followed(plain[row], Edit(asked.direction(layer), layer, where)) for row, layer in places]
    readings = engine.read([*plain, *moved])  # one batch, so that no rounding differs between the two
    found: list[tuple[float, str]] = []
    for place, (row, layer) in enumerate(places, start=len(plain)):
        start = plain[row].spoken[1]
        for span in SPANS:
            before, after = (readings.span(span)[each].astype(np.float64) for each in (row, place))
            added = asked.direction(layer) * _share(where, span, start)
            lengths, told = np.linalg.norm(before, axis=-1), f"layer {layer}, {span}, prompt of {start}"
            missed = np.linalg.norm(after[layer] - before[layer] - added)
            found.append((missed / (lengths[layer] + asked.lengths[layer]), f"at {told}"))
            if layer:
                change = np.linalg.norm(after[:layer] - before[:layer], axis=-1) / lengths[:layer]
                found.append((change.max(), f"before {told}"))
    worst, told = largest(found)
    return finding_of(f"edit read: {where}", worst, noise.added, f"+v off in {len(places)} readings; largest {told}")


def _share(where: Where, span: Span, prompt_tokens: int) -> float:
    """How much of v the mean over a span holds: "response" begins at the last prompt token."""
    if span == "last_prompt" or where == "all":
        return 1.0
    if span == "response":
        return float(where == "response")
    return 1.0 if where == "prompt" else 1.0 / prompt_tokens


def edits_at_every_token(engine: Engine, asked: Specimens, noise: Noise) -> Finding:
    """Adding v at a layer moves the projection on v of each token it is meant for by all of v, and of no other at all.

    A mean over a long prompt hides in the rounding of few bits that one token was missed; a token by itself does not.
    """
    plain, places = asked.places_to_edit()
    ways = [(row, layer, where) for row, layer in places for where in WHERES]
    moved = [followed(plain[row], Edit(asked.direction(layer), layer, where)) for row, layer, where in ways]
    probes = [Probe(direction, layer) for layer, direction in enumerate(asked.directions)]
    along = engine.project([*plain, *moved], probes)  # one batch, so that no rounding differs between the two
    found: list[tuple[float, str]] = []
    for (row, layer, where), after in zip(ways, along[len(plain) :], strict=True):
        tokens, start = plain[row].spoken
        change = (after.astype(np.float64) - along[row])[:, : layer + 1]
        reached = slice(start - 1 if where == "response" else 0, start if where == "prompt" else len(tokens))
        change[reached, layer] -= asked.lengths[layer]
        missed = np.abs(change) / asked.lengths[: layer + 1]
        token, seen = np.unravel_index(np.argmax(missed), missed.shape)
        told = f"{where} at layer {layer} seen at layer {seen}, token {token} of {len(tokens)}, prompt of {start}"
        found.append((missed[token, seen], told))
    worst, told = largest(found)
    return finding_of("edit at each token", worst, noise.added, f"+v off in {len(ways)} texts; largest {told}")


def edits_reach_answers(engine: Engine, asked: Specimens, noise: Noise) -> Finding:
    """While answers are generated, an edit is at the last prompt token, and at every response token from there on.

    After the last layer no token sees another. So there "response" must say what "all" says, and "prompt" must begin
    as "all" does, whatever the model.
    """
    last = engine.last_layer
    ways = {where: Edit(3 * asked.push(last), last, where) for where in WHERES}
    requests = [Request(text, asked.sampling, 0, (edit,)) for edit in ways.values() for text in asked.texts]
    answers = engine.generate(requests)
    count = len(asked.texts)
    said = {where: answers[each * count : (each + 1) * count] for each, where in enumerate(ways)}
    wrong = sum(
        ours.tokens != whole.tokens or _first(begun) != _first(whole)
        for ours, begun, whole in zip(said["response"], said["prompt"], said["all"], strict=True)
    )
    what = f"of {count} answers pushed at the last layer, the share where response, prompt and all disagree"
    return finding_of("edit said", wrong / count, noise.answers, what)


def _first(response: Response) -> tuple[int, ...]:
    tokens, start = response.spoken
    return tokens[start : start + 1]


def edits_move_answers(engine: Engine, asked: Specimens) -> Finding:
    """A push changes what is said, wherever and at whatever layer it is made.

    It is eight times as long as the stream of any layer: at an early one a push in proportion to that layer's own
    stream may soon be a small part of a stream that grows.
    """
    length = 8 * float(asked.norms.max())
    ways = [Edit(length * asked.directions[layer], layer, where) for layer in asked.some_layers for where in WHERES]
    requests = [
        Request(text, asked.sampling, 0, edits) for edits in ((), *((way,) for way in ways)) for text in asked.texts
    ]
    answers = [each.tokens for each in engine.generate(requests)]
    count = len(asked.texts)
    shares = []
    for way in range(1, len(ways) + 1):
        pairs = zip(answers[:count], answers[way * count : (way + 1) * count], strict=True)
        shares.append(sum(plain == moved for plain, moved in pairs) / count)
    least = ways[int(np.argmax(shares))]
    what = f"share of answers a strong edit leaves as they are; worst for {least.where} at layer {least.layer}"
    return finding_of("edit moves", max(shares), 0.5, what)


def draws_repeat_and_differ(engine: Engine, asked: Specimens, noise: Noise) -> list[Finding]:
    """The same draw gives the same answer again, another draw not always."""
    first, second, again = (
        [each.tokens for each in engine.generate([Request(text, DRAWN, draw) for text in asked.texts])]
        for draw in (0, 1, 0)
    )
    count = len(asked.texts)
    changed = sum(ours != theirs for ours, theirs in zip(first, again, strict=True)) / count
    equal = sum(ours == theirs for ours, theirs in zip(first, second, strict=True)) / count
    return [
        finding_of("draws repeat", changed, noise.answers, f"share of {count} answers that the same draw changes"),
        finding_of(
            "draws differ", equal, 1 - 1 / count, f"share of {count} answers that another draw leaves as they are"
        ),
    ]


def norms_grow(readings: Readings) -> Finding:
    """The residual stream is finite, nowhere zero, and no layer's is wholly out of proportion to its neighbour's."""
    norms = readings.norms.mean(axis=0, dtype=np.float64)
    steps = np.abs(np.diff(np.log(norms))) if np.isfinite(norms).all() and (norms > 0).all() else np.array([np.nan])
    what = f"most a layer's mean norm grows or shrinks; {norms[0]:.3g} at layer 0, {norms[-1]:.3g} at the last"
    return finding_of("norms", float(np.exp(steps.max())), MOST_GROWTH, what)


def same_prompts(asked: Specimens, against: Engine) -> Finding:
    """Two engines make the same tokens of the same prompt."""
    encoded = against.encode([prompt_of(each) for each in asked.requests])
    pairs = zip(encoded, asked.known, strict=True)
    wrong = sum(theirs.spoken != (ours.spoken[0][: ours.spoken[1]], ours.spoken[1]) for theirs, ours in pairs)
    return finding_of("two engines: prompts", wrong, 0, f"of {len(encoded)} prompts, those with other tokens")


def layers_are_named_alike(oracle: Oracle, asked: Specimens, noise: Noise) -> Finding:
    """The stream called layer k is the one transformers gives for that number."""
    apart = oracle.layers_apart(asked.known[:3])
    if np.isnan(apart).all():
        return Finding(
            "naive pass: layers", True, np.nan, noise.numbers, "not examined: the model gives none of its own"
        )
    what = f"distance of {apart.shape[1]} layers from those transformers gives"
    return finding_of("naive pass: layers", float(apart.max()), noise.numbers, what)


def same_likelihoods(
    ours: Sequence[Float[np.ndarray, "_spoken"]], theirs: Sequence[Float[np.ndarray, "_spoken"]], noise: Noise
) -> Finding:
    """The log-probability of every token that is said, plain and steered, is that of a naive pass.

    Relative to the mean one of its text: tokens nobody drew are about as unlikely as most.
    """
    found = []
    for row, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        scale = max(1.0, float(np.abs(other).mean()))
        found.append((float(np.abs(one - other).max(initial=0.0)) / scale, f"text {row}"))
    worst, told = largest(found)
    what = f"distance of the log-probabilities of {len(found)} texts; largest in {told}"
    return finding_of("naive pass: likelihoods", worst, noise.numbers, what)


def answers_are_the_likeliest(oracle: Oracle, asked: Specimens, noise: Noise) -> Finding:
    """Plain and steered, every token of a greedy answer is the one a plain pass over the whole text finds likeliest."""
    worst = np.array([each.max(initial=0.0) for each in oracle.shortfalls(asked.answers)])
    edits = asked.answers[int(worst.argmax())].request.edits
    told = f"worst for {edits[0].where} at layer {edits[0].layer}" if edits else "worst without an edit"
    what = f"how far a token of {len(worst)} answers is from the likeliest; {told}"
    return finding_of("naive pass: answers", float(worst.max()), noise.numbers, what)
