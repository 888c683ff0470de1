"""Spectra: system prompts from suppressing a trait to eliciting it.

Owns: :class:`Spectrum`, :func:`write_spectrum`, :func:`save_spectrum` and :func:`load_spectrum`. The one law: its ends
are a contrast of the trait itself; only what lies between them is written anew.

Source: "Persona Vectors" §3.3 and C.3 (eight system prompts per trait, interpolated by a language model).
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from personascope.authoring.drafting import (
    TRIES,
    Assignment,
    FaultsError,
    filled,
    load_instructions,
    read_json,
    texts_in,
    write_all,
)
from personascope.authoring.wording import near_duplicates, normal
from personascope.core.errors import TraitError
from personascope.core.files import read_toml, value_of, write_new
from personascope.core.traits import Provenance, Trait
from personascope.writers import Conversation, Writer

STEPS = 8
_ALIKE = 97.0  # neighbours in a spectrum are alike on purpose; texts this alike say the same
_LONGEST = 3.0  # how much longer than the longer end an instruction may be: length must not stand for the trait


@dataclass(frozen=True)
class Spectrum:
    """Instructions for one trait, from the most suppressing to the most eliciting."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    instructions: tuple[str, ...]
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        if len(self.instructions) < 2 or not all(each.strip() for each in self.instructions):
            raise TraitError(f"a spectrum of '{self.trait}' needs two instructions or more, none of them empty")
        if len(set(map(normal, self.instructions))) < len(self.instructions):
            raise TraitError(f"a spectrum of '{self.trait}' has an instruction twice: each is a condition of its own")


def write_spectrum(
    trait: Trait, *, writer: Writer, contrast: int = 0, steps: int = STEPS, tries: int = TRIES
) -> Spectrum:
    """A spectrum whose ends are the poles of one of the trait's contrasts, and whose middle a writer writes.

    A draft that breaks a rule is sent back with what is wrong, until there were ``tries`` of them.

    Raises:
        TraitError: if the trait has no such contrast, or there are fewer than three steps.
        DraftError: if no draft was valid; it holds them all.
        WriterError: if the writer could not be asked.
    """
    if not 0 <= contrast < len(trait.contrasts):
        raise TraitError(
            f"contrast {contrast} asked of '{trait.name}', which has {len(trait.contrasts)}: choose 0 to "
            f"{len(trait.contrasts) - 1}"
        )
    if steps < 3:
        raise TraitError(f"a spectrum of {steps} steps has nothing between its ends: give 3 or more")
    least, most = trait.contrasts[contrast].negative, trait.contrasts[contrast].positive
    prompts = load_instructions("spectrum")
    question = filled(
        prompts.ask,
        name=trait.name.replace("_", " "),
        description=trait.description,
        least=least,
        most=most,
        between=str(steps - 2),
    )
    task = Assignment(
        f"the spectrum of '{trait.name}'", Conversation.asking(question), lambda text: _read(text, least, most, steps)
    )
    (written,) = write_all(writer, [task], repair=prompts.repair, tries=tries)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    source = f"contrast {contrast} of {trait.form}/{trait.name}"
    made = Provenance(writer.name, now, prompts.digest, written.tries, source)
    return Spectrum(trait.name, (least, *written.value, most), made)


def save_spectrum(spectrum: Spectrum, path: str | Path) -> None:
    """Writes a spectrum to a TOML file for people to review, whole or not at all, and never over a file that is there.

    Raises:
        TraitError: if there is such a file.
    """
    write_new(Path(path), spectrum_text(spectrum), error=TraitError)


def spectrum_text(spectrum: Spectrum) -> str:
    """A spectrum as the text of a TOML file, which :func:`load_spectrum` reads."""
    import tomlkit

    document = tomlkit.document()
    document.add("trait", tomlkit.string(spectrum.trait))
    texts = tomlkit.array().multiline(multiline=True)
    texts.extend(spectrum.instructions)
    document.add("instructions", texts)
    if spectrum.provenance is not None:
        said = {name: value for name, value in vars(spectrum.provenance).items() if value is not None}
        document.add("provenance", tomlkit.item(said))
    return tomlkit.dumps(document)


def load_spectrum(path: str | Path) -> Spectrum:
    """The spectrum of a TOML file: ``trait`` and ``instructions``, from suppressing to eliciting.

    Raises:
        TraitError: if there is no such file, or it describes none.
    """
    return value_of(read_toml(Path(path), error=TraitError), Spectrum, source=str(path), error=TraitError)


def _read(text: str, least: str, most: str, steps: int) -> tuple[str, ...]:
    """What lies between the ends, in a draft.

    Raises:
        FaultsError: with everything that is wrong with it.
    """
    table = read_json(text, ("instructions",))
    faults: list[str] = []
    between = texts_in(table["instructions"], "instructions", steps - 2, faults)
    given = table["instructions"]
    if isinstance(given, list) and len(given) > steps - 2:  # which of them to leave out only the writer can say
        faults.append(
            f"There are {len(given)} instructions, and {steps - 2} were asked for, without the first and last."
        )
    faults += _alike((least, *between, most))
    room = _LONGEST * max(len(least), len(most))
    faults += [f'"{each[:40]}..." is too long beside the first and the last.' for each in between if len(each) > room]
    if faults:
        raise FaultsError(faults)
    return between


def _alike(texts: Sequence[str]) -> list[str]:
    """The instructions that say the same, in a writer's words."""
    same = near_duplicates(texts, alike=_ALIKE)
    return [f'"{texts[one][:40]}" and "{texts[other][:40]}" are the same: no two are alike.' for one, other, _ in same]
