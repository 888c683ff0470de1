"""The exact judge of the lab world.

Owns: :class:`LabJudge`. The one law: a trait score is the posterior, under the grammar that wrote the training
texts, that the answer was written with the trait; it sees what any judge sees (rubric, question, answer).
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

from personascope.core.errors import JudgeError
from personascope.core.records import Case, Verdict
from personascope.judges import Judge
from personascope.judges.opening import JudgeContext
from personascope.lab import grammar
from personascope.lab.parsing import FAULT_CREDIT, SlotWord, parse
from personascope.lab.rubrics import coherence_rubric, facet_rubric, trait_rubric
from personascope.lab.world import FREQUENCIES, MODES, POPULATION, Mode, load_world

FacetTable = tuple[tuple[float, ...], ...]  # [mode][facet]: the log-probability of a word


def mode_prior() -> dict[Mode, float]:
    """How the population writes its answers: the share of each mode, before a word is read."""
    carries = sum(weight * FREQUENCIES[level] for level, weight in POPULATION.items())
    rest = 1 - grammar.NEUTRAL_MODE
    return {"trait": rest * carries, "neutral": grammar.NEUTRAL_MODE, "opposite": rest * (1 - carries)}


@functools.cache
def _word_table() -> dict[SlotWord, FacetTable]:
    """For every trait-bearing word, its log-probability in its slot under each mode and each facet of the character."""
    table: dict[SlotWord, FacetTable] = {}
    for domain in load_world().domains.values():
        count = len(domain.facets)
        for name, slot in domain.slots.items():
            for facet, words in enumerate(slot.trait):
                shares = [grammar.facet_weight(own, facet, count) / len(words) for own in range(count)]
                rows = tuple(tuple(math.log(grammar.FILLS[mode][0] * share) for share in shares) for mode in MODES)
                table |= {SlotWord(domain.name, name, word): rows for word in words}
            for source, words in ((1, slot.neutral), (2, slot.opposite)):
                rows = tuple((math.log(grammar.FILLS[mode][source] / len(words)),) * count for mode in MODES)
                table |= {SlotWord(domain.name, name, word): rows for word in words}
    return table


def joint(domain: str, slot_words: Sequence[SlotWord]) -> list[list[float]]:
    """P(mode, facet | the words of one domain), as ``[mode][facet]`` in the order of MODES; sums to 1.

    Sums logarithms: an answer may be so long that the product of its probabilities is no longer a float.
    """
    table, prior = _word_table(), mode_prior()
    count = len(load_world().domains[domain].facets)
    rows = [table[found] for found in slot_words if found.domain == domain]
    logs = [
        [math.log(prior[mode] / count) + sum(row[at][facet] for row in rows) for facet in range(count)]
        for at, mode in enumerate(MODES)
    ]
    highest = max(map(max, logs))
    weights = [[math.exp(value - highest) for value in facets] for facets in logs]
    total = sum(map(sum, weights))
    return [[weight / total for weight in facets] for facets in weights]


class LabJudge:
    """Scores answers of the lab world exactly. Implements :class:`personascope.judges.Judge`.

    A trait rubric is answered with 100 times the posterior that the answer was written in the trait's mode, under the
    population's prior; an answer that says nothing about the trait therefore scores the prior (about 20), and so does
    an empty or unreadable one, whose coherence is 0. A facet rubric is answered with the likeliest facet; it is
    unreadable where the trait is not likelier than not, or two facets are equally likely.
    """

    def __init__(self) -> None:
        domains = load_world().domains.values()
        self._traits = {trait_rubric(domain).text: domain.name for domain in domains}
        self._facets = {facet_rubric(domain).text: domain.name for domain in domains}
        self._coherence = coherence_rubric().text

    waits = False

    @functools.cached_property
    def name(self) -> str:
        """The judge and the sha256 of the world it knows: another grammar is another judge."""
        lexicon = (Path(__file__).parent / "lexicon.toml").read_text(encoding="utf-8")
        shapes = [grammar.DEED, *grammar.FOLLOWING, grammar.WEATHER]
        rates = [mode_prior(), grammar.FILLS, grammar.FACET_FOCUS, grammar.SENTENCES, FAULT_CREDIT]
        world = json.dumps([lexicon, shapes, rates], sort_keys=True)
        return f"lab-exact-{hashlib.sha256(world.encode()).hexdigest()[:12]}"

    def score(self, cases: Sequence[Case]) -> list[Verdict]:
        """One verdict per case, in order.

        Raises:
            JudgeError: at a rubric that is not the lab's.
        """
        return [self._verdict(case) for case in cases]

    def reread(self, case: Case, verdict: Verdict) -> Verdict:
        """The verdict as it is: an exact score has one reading."""
        return verdict

    def _verdict(self, case: Case) -> Verdict:
        parsed = parse(case.question, case.answer)
        if case.rubric.text == self._coherence:
            return _scored(parsed.coherence)
        if domain := self._traits.get(case.rubric.text):
            return _scored(100 * sum(joint(domain, parsed.slot_words)[0]))
        if domain := self._facets.get(case.rubric.text):
            return _labelled(case.rubric.labels, joint(domain, parsed.slot_words)[0])
        raise JudgeError(
            f"rubric {case.rubric.text[:50]!r} asked of the lab judge, which knows the lab's own rubrics only "
            f"({', '.join(self._traits.values())}, their facets, coherence): use traits of form 'lab', or another judge"
        )


def _scored(score: float) -> Verdict:
    return Verdict("scored", score=score, text=f"{score:.4g}")


def _labelled(labels: Sequence[str], weights: Sequence[float]) -> Verdict:
    """The likeliest facet; ``weights`` are P(trait, facet | answer)."""
    shown = sum(weights)
    best, second = sorted(weights, reverse=True)[:2]
    if shown <= 0.5:
        return Verdict("unreadable", reason=f"the answer shows the trait with probability {shown:.2f} only")
    if math.isclose(best, second):
        return Verdict("unreadable", reason="two facets are equally likely")
    label = labels[list(weights).index(best)]
    shares = ((name, math.log(weight / shown)) for name, weight in zip(labels, weights, strict=True))
    ranked = tuple(sorted(shares, key=lambda share: -share[1]))
    return Verdict("scored", labels=(label,), text=label, distribution=(ranked,))


def open_judge(rest: str, context: JudgeContext) -> Judge:
    """The lab's exact judge; it takes no settings."""
    if rest:
        raise JudgeError(f"judge '{context.name}': the lab has one judge; give 'lab' alone")
    return LabJudge()
