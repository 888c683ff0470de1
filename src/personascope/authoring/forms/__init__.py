"""A trait in another form of text: as a character, in dialogue, in stories, or in all of them at once.

Owns: :func:`transform_trait` and :func:`combine_traits`. The one law: a form changes the text a trait shows in and
nothing else: every contrast and every question becomes one of the new form, in its own set, and what a template can
make is made without a writer. Source: tracing study §1.2 and §1.8.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from personascope.authoring.drafting import load_instructions
from personascope.authoring.forms.character import as_character
from personascope.authoring.forms.dialogue import as_dialogue
from personascope.authoring.forms.story import as_story
from personascope.authoring.forms.task import PERSON, SETS, Task, rubric_of
from personascope.authoring.traits import WrittenTrait, provenance_of
from personascope.core.errors import TraitError, nearest
from personascope.core.traits import Rubric, Trait, coherence_rubric, trait_toml
from personascope.writers import Writer

Item = TypeVar("Item")


def transform_trait(
    trait: Trait, *, to: str, writer: Writer, person: str = PERSON, situations: Sequence[str] | None = None
) -> WrittenTrait:
    """An assistant-form trait in the form ``"character"``, ``"dialogue"`` or ``"story"``.

    ``character``: contrasts about a person with a name, and questions turned into openings that break off; the writer
    makes both. ``dialogue``: every question is said to that person in a scene, and an instruction is two scenes with
    replies, which the writer makes. ``story``: every question is a situation to tell on from, and an instruction is
    three stories that the writer told on from others; ``situations`` are yours or the bundled ones.

    Raises:
        TraitError: if the trait, the form, the person or the situations do not fit.
        DraftError: if no draft was valid; it holds them all.
        WriterError: if the writer could not be asked.
    """
    makers: Mapping[str, Callable[[Task], tuple[Trait, int]]] = {
        "character": as_character,
        "dialogue": as_dialogue,
        "story": functools.partial(as_story, situations=situations),
    }
    if to not in makers:
        raise TraitError(f"form '{to}' is none that a trait can be turned into; {nearest(to, makers)}")
    if trait.form != "assistant":
        raise TraitError(f"trait '{trait.name}' has the form '{trait.form}': only the form 'assistant' is transformed")
    if not (person[:1].isupper() and re.fullmatch(r"[^\W\d_]{2,}", person)):
        raise TraitError(f"'{person}' is no name a text can be about: give one word with a capital letter")
    if situations is not None and to != "story":
        raise TraitError(f"situations were given for the form '{to}': only 'story' is told on from situations")
    prompts = load_instructions(to)
    made, tries = makers[to](Task(trait, prompts, person, writer))
    digest = hashlib.sha256(trait_toml(trait).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    source = f"{trait.form}/{trait.name} sha256 {digest}"
    return WrittenTrait(made, provenance_of(writer, prompts.digest, tries, source=source))


def combine_traits(traits: Sequence[Trait]) -> Trait:
    """One trait in several forms at once: each form is a strand, and the strands take turns (:class:`Trait`).

    Raises:
        TraitError: if they are not one trait, or not equally long, so that a strand would count more than another.
    """
    sizes = {tuple(len(getattr(trait, name)) for name in ("contrasts", *SETS)) for trait in traits}
    combined = any(trait.strands > 1 for trait in traits)
    if len(traits) < 2 or len({trait.name for trait in traits}) != 1 or len(sizes) != 1 or combined:
        told = ", ".join(f"{trait.form}/{trait.name}" for trait in traits) or "none"
        raise TraitError(f"{told}: a combined trait is one trait in two forms or more, with as many texts in each")
    first = traits[0]
    return dataclasses.replace(
        first,
        form="combined",
        contrasts=_in_turn([trait.contrasts for trait in traits]),
        extraction_questions=_in_turn([trait.extraction_questions for trait in traits]),
        selection_questions=_in_turn([trait.selection_questions for trait in traits]),
        evaluation_questions=_in_turn([trait.evaluation_questions for trait in traits]),
        rubric=rubric_of(load_instructions("combined"), first),
        coherence=Rubric(coherence_rubric("combined")["text"]),
        strands=len(traits),
    )


def _in_turn(lists: Sequence[tuple[Item, ...]]) -> tuple[Item, ...]:
    """The first of every list, then the second of every list, and so on."""
    return tuple(item for some in zip(*lists, strict=True) for item in some)
