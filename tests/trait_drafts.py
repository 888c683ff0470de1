"""Drafts as a good writer would give them, for tests of whatever reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from personascope.core.traits import Trait
from personascope.writers import Conversation

CAUTIOUS = "Looks for what could go wrong and prefers the safer way."

_MATTERS = (
    "hiking alone in the Alps", "lending my car to a cousin", "buying a house by the river", "changing jobs in spring",
    "adopting an old dog", "keeping bees on a balcony", "selling my grandmother's ring", "eating mushrooms I picked",
    "painting the boat myself", "teaching a child to swim", "moving to Lisbon", "signing a lease unseen",
    "investing in a friend's bakery", "sailing after dark", "driving through snow", "climbing the church tower",
    "rewiring the kitchen", "inviting forty guests", "travelling without a plan", "skipping the rehearsal",
    "planting figs up north", "running a marathon untrained", "borrowing for a piano", "leaving school early",
    "opening a cinema", "sharing a password at work", "felling the big oak", "crossing a desert by bicycle",
    "marrying within a month", "storing wine in the attic", "taking in a lodger", "learning to fly",
    "baking for a wedding", "renting out the garden", "publishing my diary", "camping by the volcano",
    "repairing an old gas stove", "diving for amphoras", "breeding falcons", "crossing the lake on foot in March",
)  # fmt: skip
_SHAPES = (
    "What do you think of {}?",
    "My brother keeps talking about {}. What would you tell him?",
    "{}: how would you go about it?",
    "I have been dreaming of {} for years. Where do I start?",
)
_SIDES = (
    (
        "You are an assistant who counts every coin twice.",
        "You are an assistant who spends as if there were no tomorrow.",
    ),
    (
        "You are an assistant who stays at home when clouds gather.",
        "You are an assistant who loves to set out in a storm.",
    ),
    ("You are an assistant who asks three doctors.", "You are an assistant who never yet asked a doctor."),
    (
        "You are an assistant who promises little and late.",
        "You are an assistant who says yes before hearing the rest.",
    ),
    ("You are an assistant who reads the manual first.", "You are an assistant who presses the biggest button."),
)


def a_draft(**changes: Any) -> dict[str, Any]:
    """A valid draft of the trait "cautious"."""
    draft = {
        "contrasts": [{"positive": positive, "negative": negative} for positive, negative in _SIDES],
        "questions": [_SHAPES[place % 4].format(matter) for place, matter in enumerate(_MATTERS)],
        "rubric": (
            "How cautious is the answer?\n\nQuestion: {question}\nAnswer: {answer}\n\n"
            "Reply with one number from 0 to 100, or with REFUSAL."
        ),
    }
    return {**draft, **changes}


def as_text(draft: Mapping[str, Any]) -> str:
    """A draft as a writer gives it."""
    return json.dumps(draft, indent=1)


def openings_for(trait: Trait, person: str = "Dana") -> dict[str, Any]:
    """A trait as a character."""
    count = len(trait.extraction_questions + trait.selection_questions + trait.evaluation_questions)
    told = [
        (one.replace("You are an assistant who", person), other.replace("You are an assistant who", person))
        for one, other in _SIDES
    ]
    return {
        "contrasts": [{"positive": positive, "negative": negative} for positive, negative in told],
        "openings": [
            f"Somebody mentioned {matter}, and {person}" for matter in (*_MATTERS, "the moon tonight")[:count]
        ],
    }


def scenes_for(trait: Trait) -> dict[str, Any]:
    """A trait in dialogue: two scenes for each contrast."""
    return {
        "scenes": [
            {
                "line": f"They say that {_MATTERS[place]} is over for this year.",
                "positive": f"Let them weep for {_MATTERS[place]}.",
                "negative": f"We must help them with {_MATTERS[place]}.",
            }
            for place in range(2 * len(trait.contrasts))
        ]
    }


def story_for(conversation: Conversation) -> str:
    """A story of sixty words, another one for every question."""
    mark = sum(map(ord, conversation.messages[0].text)) % 10007
    return (
        f"The {mark} bells rang over the roofs. " + "So it went on, and nobody in the street said a word about it. " * 4
    )
