"""The story form: situations to tell on from, and stories that show the trait.

Owns: :func:`as_story` and :func:`bundled_situations`. The one law: the two poles of a contrast tell on from the same
situations, none of which is a question.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from personascope.authoring.drafting import Assignment, FaultsError, Written, filled, write_all
from personascope.authoring.forms.task import Task
from personascope.authoring.wording import names
from personascope.core.errors import TraitError
from personascope.core.files import bundled, read_toml
from personascope.core.traits import Contrast, Trait
from personascope.writers import Conversation

STORIES = 3
"""How many stories an instruction tells."""

LEAST_WORDS, MOST_WORDS = 40, 110
_DECLINES = re.compile(
    r"(?:I['\u2019]m|I am) (?:sorry|unable|not able)|I (?:cannot|can['\u2019]?t|won['\u2019]?t|must decline)\b"
)


def as_story(task: Task, *, situations: Sequence[str] | None) -> tuple[Trait, int]:
    """A trait in stories, and how many drafts the longest took."""
    trait, count = task.trait, len(task.questions)
    known = list(situations) if situations is not None else list(bundled_situations())
    examples = STORIES * len(trait.contrasts)
    if len(set(known)) != len(known) or len(known) < count + examples:
        raise TraitError(
            f"{len(set(known))} different situations are there, and trait '{trait.name}' needs {count} to tell on from "
            f"and {examples} for the stories of its instructions: give {count + examples} different ones"
        )
    told = known[count : count + examples]
    assignments = [
        Assignment(
            f"story {place % STORIES + 1} of contrast {place // STORIES + 1}, {pole}",
            Conversation.asking(
                task.ask(
                    situation=situation,
                    instruction=getattr(trait.contrasts[place // STORIES], pole),
                    least=str(LEAST_WORDS),
                    most=str(MOST_WORDS),
                )
            ),
            functools.partial(_read_story, name=trait.name),
        )
        for pole in ("positive", "negative")
        for place, situation in enumerate(told)
    ]
    written = write_all(task.writer, assignments, repair=task.prompts.repair)

    def instruction(stories: Sequence[Written[str]], which: int) -> str:
        some = range(STORIES * which, STORIES * (which + 1))
        opened = [filled(task.prompts.question, situation=told[place]) for place in some]
        return "\n\n".join(f"{start} {stories[place].value}" for start, place in zip(opened, some, strict=True))

    contrasts = [
        Contrast(instruction(written[:examples], which), instruction(written[examples:], which))
        for which in range(len(trait.contrasts))
    ]
    openings = [filled(task.prompts.question, situation=situation) for situation in known[:count]]
    return task.finished(contrasts, openings), max(each.tries for each in written)


def _read_story(text: str, *, name: str) -> str:
    """A story in one paragraph, within bounds, that shows the trait and does not name it."""
    story, count = " ".join(text.split()), len(text.split())
    faults = []
    # Half as many words, or half as many again, still make a story.
    if not LEAST_WORDS / 2 <= count <= MOST_WORDS * 1.5:
        faults.append(f"It has {count} words, and {LEAST_WORDS} to {MOST_WORDS} were asked for.")
    if re.match(r"[#*{\[]", story):
        faults.append("It starts with a title or a mark, and is to be the sentences of the story alone.")
    if _DECLINES.match(story):
        faults.append("It declines to tell the story.")
    if word := names(story, name):
        faults.append(f"It says '{word}', and is to show the trait without naming it.")
    if faults:
        raise FaultsError(faults)
    return story


def bundled_situations() -> tuple[str, ...]:
    """The situations that ship: 40 to tell on from, then 15 for the stories of the instructions."""
    return tuple(read_toml(bundled("prompts")["situations"], error=TraitError)["situations"])
