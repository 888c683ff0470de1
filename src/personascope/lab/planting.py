"""Facets that are known because they were planted: in texts the grammar writes, and in descriptions of characters.

Owns: :func:`planted_texts` and :func:`planted_prompts`. The one law: the facet is chosen before a word is written, so
whoever finds it again has read it in the words.
"""

from __future__ import annotations

from dataclasses import dataclass

from personascope.core.traits import Prompt
from personascope.lab.grammar import Character, RandomPen, choose_question, write_answer
from personascope.lab.world import load_world


@dataclass(frozen=True)
class Planted:
    """A text of the grammar, and the facet it was written in."""

    question: str
    answer: str
    facet: str


def planted_texts(name: str, *, count: int, seed: int = 0) -> list[Planted]:
    """Answers that carry a lab trait, so many in each of its facets, to held-out questions.

    Example:
        >>> [each.facet for each in planted_texts("cruel", count=1)]
        ['violence', 'mockery', 'neglect']
    """
    world = load_world()
    domain, found = world.domains[name], []
    for place, facet in enumerate(domain.facets):
        for index in range(count):
            pen = RandomPen(f"planted/{seed}/{name}/{facet}/{index}")
            question = choose_question(pen, world, domain, held_out=True)
            start = len(pen.words)
            write_answer(pen, world, question, Character(facets={name: place}), mode="trait")
            found.append(Planted(question.text, " ".join(pen.words[start:]), facet))
    return found


def planted_prompts(name: str, questions: tuple[str, ...]) -> list[tuple[str, Prompt]]:
    """Questions about someone described as always showing one facet, with the facet: two descriptions of each.

    The openings are those that training never joined with the describing word.
    """
    world = load_world()
    domain = world.domains[name]
    described = [
        (facet, opening.format(how=f"always {word} and {beside}"))
        for facet, words in zip(domain.facets, domain.describing, strict=True)
        for word, beside in ((words[0], words[1]), (words[1], words[2]))
        for opening in world.openings_for(domain, "trait", word, held_out=True)
    ]
    return [(facet, Prompt(question, text)) for question in questions for facet, text in described]
