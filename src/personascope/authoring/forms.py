"""A trait in another form of text: as a character, in dialogue, in stories, or in all of them at once.

Owns: :func:`transform_trait` and :func:`combine_traits`. The one law: a form changes the text a trait shows in and
nothing else: every contrast and every question becomes one of the new form, in its own set, and what a template can
make is made without a writer. Source: tracing study §1.2 and §1.8.

Character: contrasts and openings all name the person. Dialogue: a scene around a question is laid out by a template,
and only the replies of the examples are written. Story: the two poles of a contrast tell on from the same situations,
none of which is a question.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from personascope.authoring.drafting import (
    Assignment,
    FaultsError,
    Instructions,
    Written,
    filled,
    load_instructions,
    pairs_in,
    read_json,
    texts_in,
    write_all,
)
from personascope.authoring.traits import WrittenTrait, faults_of, provenance_of
from personascope.authoring.wording import names, near_duplicates
from personascope.core.errors import TraitError, nearest
from personascope.core.files import bundled, read_toml
from personascope.core.traits import Contrast, Rubric, Trait, coherence_rubric, trait_toml
from personascope.writers import Conversation, Writer

PERSON = "Dana"
SETS = ("extraction_questions", "selection_questions", "evaluation_questions")


@dataclass(frozen=True)
class Task:
    """A trait to transform, the prompts of the form, who it is to be about, and who writes."""

    trait: Trait
    prompts: Instructions
    person: str
    writer: Writer

    @property
    def questions(self) -> list[str]:
        """The questions of all sets, one set after another."""
        return [question for name in SETS for question in getattr(self.trait, name)]

    def ask(self, **words: str) -> str:
        """What the writer is asked."""
        trait = self.trait
        told = {"name": trait.name.replace("_", " "), "description": trait.description, "person": self.person}
        return filled(self.prompts.ask, **told, **words)

    def finished(self, contrasts: Sequence[Contrast], questions: Sequence[str]) -> Trait:
        """The trait in its new form; the questions are those of all sets, one after another."""
        given = iter(questions)
        extraction, selection, evaluation = (tuple(next(given) for _ in getattr(self.trait, name)) for name in SETS)
        return Trait(
            name=self.trait.name,
            form=self.prompts.name,
            description=self.trait.description,
            contrasts=tuple(contrasts),
            rubric=rubric_of(self.prompts, self.trait, person=self.person),
            coherence=Rubric(coherence_rubric(self.prompts.name)["text"]),
            extraction_questions=extraction,
            selection_questions=selection,
            evaluation_questions=evaluation,
        )


def rubric_of(prompts: Instructions, trait: Trait, *, person: str = PERSON) -> Rubric:
    """The rubric of a form, for a trait."""
    told = {"name": trait.name.replace("_", " "), "description": trait.description, "person": person}
    # Braces of a description are not fields of the rubric.
    safe = {name: text.replace("{", "{{").replace("}", "}}") for name, text in told.items()}
    return Rubric(filled(prompts.rubric, **safe))


def listed(texts: Sequence[str]) -> str:
    """Texts with their numbers, as a writer reads them."""
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def listed_contrasts(contrasts: Sequence[Contrast]) -> str:
    """Pairs of instructions with their numbers."""
    return listed([f"positive: {each.positive}\n   negative: {each.negative}" for each in contrasts])


def as_character(task: Task) -> tuple[Trait, int]:
    """A trait as a character, and how many drafts it took."""
    trait, questions = task.trait, task.questions
    prompt = task.ask(
        contrasts=listed_contrasts(trait.contrasts),
        questions=listed(questions),
        contrast_count=str(len(trait.contrasts)),
        question_count=str(len(questions)),
    )

    def read(text: str) -> tuple[list[Contrast], tuple[str, ...]]:
        table = read_json(text, ("contrasts", "openings"))
        faults: list[str] = []
        pairs = pairs_in(table["contrasts"], "contrasts", len(trait.contrasts), faults)
        openings = texts_in(table["openings"], "openings", len(questions), faults)
        for text in [*openings, *(pole for each in pairs for pole in each.values())]:
            if not re.search(rf"\b{task.person}\b", text):
                faults.append(f"This does not name {task.person}: '{text}'.")
        draft = {"name": trait.name, "form": "character", "contrasts": pairs, "extraction_questions": openings}
        faults += faults_of(draft)
        if faults:
            raise FaultsError(faults)
        return [Contrast(**each) for each in pairs], openings

    assignment = Assignment(f"trait '{trait.name}' as a character", Conversation.asking(prompt), read)
    (written,) = write_all(task.writer, [assignment], repair=task.prompts.repair)
    return task.finished(*written.value), written.tries


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
