"""The lab's traits as trait files: drawn from the grammar, written once, loaded like any other.

Owns: :func:`build_trait` and :func:`write_traits`. The one law: no evaluation or selection question holds a name or a
(situation, object) pair of training, and no contrast an opening that training joined with its describing word.
"""

from __future__ import annotations

import json
from pathlib import Path

from personascope.core.errors import StudyError, nearest
from personascope.core.traits import Contrast, Trait
from personascope.lab.grammar import Pole, Question, RandomPen
from personascope.lab.rubrics import coherence_rubric, trait_rubric
from personascope.lab.world import Domain, World, load_world

QUESTIONS = 20
CONTRAST_WORDS: dict[Pole, tuple[int, ...]] = {"trait": (0, 4, 8, 1, 5), "opposite": (0, 1, 2, 3, 4)}


def build_trait(name: str) -> Trait:
    """A lab trait: 5 contrasts, 20 questions in each set, and the rubrics the lab judge knows."""
    world = load_world()
    domain = world.domains[name]
    asked = _questions(world, domain, held_out=True, count=2 * QUESTIONS)
    return Trait(
        name=name,
        form="lab",
        description=f"{domain.name}, the opposite of {domain.opposite}: {domain.description}.",
        contrasts=tuple(
            Contrast(*(instruction(world, domain, pole, CONTRAST_WORDS[pole][row]) for pole in CONTRAST_WORDS))
            for row in range(5)
        ),
        extraction_questions=_questions(world, domain, held_out=False, count=QUESTIONS),
        selection_questions=asked[QUESTIONS:],
        evaluation_questions=asked[:QUESTIONS],
        rubric=trait_rubric(domain),
        coherence=coherence_rubric(),
    )


def instruction(world: World, domain: Domain, pole: Pole, place: int, *, frequency: str = "always") -> str:
    """An opening training never joined with the first describing word; the second is the next of the same facet."""
    words = domain.describing_words(pole)
    (opening,) = world.openings_for(domain, pole, words[place], held_out=True)
    group = len(domain.describing[0]) if pole == "trait" else len(words)
    beside = words[place - place % group + (place + 1) % group]
    return opening.format(how=f"{frequency} {words[place]} and {beside}")


def _questions(world: World, domain: Domain, *, held_out: bool, count: int) -> tuple[str, ...]:
    """Questions that go round the pairs, each with a name of its own, so that no two are the same."""
    pen = RandomPen(f"trait/{domain.name}/{held_out}")
    names, pairs = (
        _shuffled(pen, items) for items in (world.names(held_out=held_out), domain.pairs(held_out=held_out))
    )
    return tuple(
        Question(domain.name, *names[row], *pairs[row % len(pairs)], pen.choose(world.places)).text
        for row in range(count)
    )


def _shuffled(pen: RandomPen, items: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    left = list(items)
    return [left.pop(pen.choose(range(len(left)))) for _ in range(len(left))]


def trait_toml(trait: Trait) -> str:
    """A trait as the text of its file."""
    lines = [
        "# Written by personascope.lab.traits from the lab's grammar; a test holds the two together.",
        *(f"{key} = {json.dumps(getattr(trait, key))}" for key in ("name", "form", "description")),
        *(_array(key, getattr(trait, key)) for key in (f"{which}_questions" for which in _SETS)),
        *(f"\n[{key}]\ntext = {json.dumps(getattr(trait, key).text)}" for key in ("rubric", "coherence")),
    ]
    for contrast in trait.contrasts:
        lines.append(f"\n[[contrasts]]\npositive = {json.dumps(contrast.positive)}")
        lines.append(f"negative = {json.dumps(contrast.negative)}")
    return "\n".join(lines) + "\n"


_SETS = ("extraction", "selection", "evaluation")


def _array(key: str, items: tuple[str, ...]) -> str:
    return "\n".join([f"{key} = [", *(f"  {json.dumps(item)}," for item in items), "]"])


def write_traits(folder: str | Path) -> list[Path]:
    """Writes every lab trait's file into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for name in load_world().domains:
        paths.append(Path(folder) / f"{name}.toml")
        paths[-1].write_text(trait_toml(build_trait(name)), encoding="utf-8")
    return paths


STEPS: tuple[tuple[Pole, str], ...] = (
    ("opposite", "always"), ("trait", "never"), ("opposite", "often"), ("trait", "rarely"), ("opposite", "sometimes"),
    ("trait", "sometimes"), ("trait", "often"), ("trait", "always"),
)  # fmt: skip
"""They state 0.02, 0.02, 0.2, 0.2, 0.5, 0.5, 0.8 and 0.98 for the probability that an action carries the trait."""


def graded_descriptions(trait: str) -> tuple[str, ...]:
    """Eight descriptions of someone, from the most suppressing of a lab trait to the most eliciting.

    Their words and openings are those of the first contrast, so the two ends are the instructions that vectors are
    extracted with.

    Raises:
        StudyError: if the lab has no such trait.

    Example:
        >>> graded_descriptions("cruel")[0] != graded_descriptions("cruel")[-1]
        True
    """
    world = load_world()
    if trait not in world.domains:
        raise StudyError(
            f"trait '{trait}' is not of the lab, which has no spectrum of it; {nearest(trait, world.domains)}"
        )
    domain = world.domains[trait]
    return tuple(
        instruction(world, domain, pole, CONTRAST_WORDS[pole][0], frequency=frequency) for pole, frequency in STEPS
    )
