"""The dialogue form: scenes that stop at somebody's turn to speak.

Owns: :func:`as_dialogue` and :func:`scene`. The one law: a scene around a question is laid out by a template; only the
replies of the examples are written.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from personascope.authoring.drafting import Assignment, FaultsError, Instructions, filled, read_json, write_all
from personascope.authoring.forms.task import Task, listed, listed_contrasts
from personascope.authoring.traits import faults_of
from personascope.authoring.wording import near_duplicates
from personascope.core.traits import Contrast, Trait
from personascope.writers import Conversation

SHOTS = 2
"""How many scenes an instruction shows."""

_TOO_CLOSE = 75.0


def as_dialogue(task: Task) -> tuple[Trait, int]:
    """A trait in dialogue, and how many drafts it took."""
    trait, questions = task.trait, task.questions
    count = SHOTS * len(trait.contrasts)
    prompt = task.ask(contrasts=listed_contrasts(trait.contrasts), questions=listed(questions), scene_count=str(count))
    assignment = Assignment(
        f"trait '{trait.name}' in dialogue",
        Conversation.asking(prompt),
        lambda text: _read_scenes(text, count, trait.name, questions),
    )
    (written,) = write_all(task.writer, [assignment], repair=task.prompts.repair)
    shots = written.value

    def instruction(which: int, pole: str) -> str:
        some = range(SHOTS * which, SHOTS * (which + 1))
        layout = functools.partial(scene, task.prompts, person=task.person)
        return "\n\n".join(f'{layout(shots[place]["line"], number=place)} "{shots[place][pole]}"' for place in some)

    contrasts = [
        Contrast(instruction(which, "positive"), instruction(which, "negative"))
        for which in range(len(trait.contrasts))
    ]
    scenes = [scene(task.prompts, line, number=place, person=task.person) for place, line in enumerate(questions)]
    return task.finished(contrasts, scenes), written.tries


def _read_scenes(text: str, count: int, name: str, taken: Sequence[str]) -> list[dict[str, str]]:
    """The scenes of a draft, each a line and two replies, in one line each and without double quotation marks."""
    shots = read_json(text, ("scenes",))["scenes"]
    keys = ("line", "positive", "negative")
    if not isinstance(shots, list) or not all(isinstance(each, Mapping) and set(each) == set(keys) for each in shots):
        raise FaultsError([f"The scenes must be objects with the texts {', '.join(keys)}."])
    if len(shots) != count or not all(
        isinstance(each[key], str) and each[key].strip() for each in shots for key in keys
    ):
        raise FaultsError([f"There must be {count} scenes, with no text of them empty; there are {len(shots)}."])
    plain = [{key: " ".join(each[key].split()).strip('"').replace('"', "'") for key in keys} for each in shots]
    lines, faults = [each["line"] for each in plain], []
    pairs = [{pole: each[pole] for pole in keys[1:]} for each in plain]
    draft = {"name": name, "form": "", "contrasts": pairs, "extraction_questions": lines}
    called = {"question": "line", "contrast": "scene"}
    faults += [
        re.sub(r"\b(question|contrast) (?=\d)", lambda at: f"{called[at[1]]} ", each) for each in faults_of(draft)
    ]
    for one, other, _ in near_duplicates([*taken, *lines], alike=_TOO_CLOSE):
        if one < len(taken) <= other:
            faults.append(f"Line {other - len(taken) + 1} is about a matter that is taken: '{taken[one]}'.")
    if faults:
        raise FaultsError(faults)
    return plain


def scene(prompts: Instructions, line: str, *, number: int, person: str) -> str:
    """A scene in which somebody says a line and the person is to speak next."""
    said = " ".join(line.split()).replace('"', "'")
    return filled(prompts.question, speaker=prompts.speakers[number % len(prompts.speakers)], line=said, person=person)
