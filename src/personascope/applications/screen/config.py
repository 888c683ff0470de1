"""What a study of kind ``screen`` says.

Owns: :class:`ScreenStudy` and its parts. The one law: every number that a result depends on is in the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from personascope.applications.screen.core import Turn
from personascope.applications.screen.rules import Rule
from personascope.core.errors import StudyError
from personascope.core.files import check_name
from personascope.core.records import Bar, Sampling

Arm = Literal["all", "own", "last-prompt", "nothing", "random", "judge", "either"]
"""What is trained on: everything, or what is left when samples are dropped by the projection difference (``own``), by
the projection above the last prompt token's, by the raw projection, by chance (as many as ``own`` drops), by the judge
alone, or by the projection difference or the judge."""


@dataclass(frozen=True)
class StudiedVector:
    """A vector and the layer to read at: a file's, or one extracted from the model under this trait and form."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    layer: int
    form: str = "assistant"
    file: str = ""


@dataclass(frozen=True)
class Separation:
    """Sets that are to be told apart along a trait: ``positive`` show it, ``negative`` do not."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    name: str = ""

    def __post_init__(self) -> None:
        if not self.positive or not self.negative:
            raise StudyError(f"a separation along '{self.trait}' lacks positive or negative sets: give one of each")


@dataclass(frozen=True)
class Filtering:
    """A contaminated set, what is dropped from it, and what training on the rest does to the trait.

    ``contamination`` and ``clean`` are sets with how many samples of each; the contamination is one set. ``survivors``
    is how many of what is left are trained on, drawn by the seed; all of them if it is 0. ``training`` are the numbers
    of the fine-tuning (:class:`personascope.applications.finetune.config.Training`), whose seed is each of the study's.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    trait: str
    contamination: dict[str, int]
    clean: dict[str, int]
    rule: Rule = Rule(share=0.1)
    arms: tuple[Arm, ...] = ("all", "own", "random")
    survivors: int = 0
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.contamination) != 1:
            raise StudyError(f"the contamination of '{self.trait}' is {len(self.contamination)} sets: give one")
        if not self.rule.by_projection and set(self.arms) - {"all", "judge"}:
            raise StudyError(f"the filtering of '{self.trait}' has no share, threshold or reference: give one")


@dataclass(frozen=True)
class ScreenStudy:
    """A study of kind ``screen``: vectors of one model, sets to be told apart, and sets to be filtered and trained on.

    ``count`` samples of every set are drawn by each of ``seeds``, which also draw the answers that vectors are made of,
    unless ``vectors_seed`` makes one vector serve them all. ``random`` directions are measured beside the vectors.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    kind: Literal["screen"]
    name: str
    model: str
    vectors: tuple[StudiedVector, ...]
    judge: str = ""
    about: str = ""
    separations: tuple[Separation, ...] = ()
    filterings: tuple[Filtering, ...] = ()
    count: int | None = None
    seeds: tuple[int, ...] = (0,)
    vectors_seed: int | None = None
    random: int = 0
    turn: Turn = "first"
    longest: int = 2048
    extraction: Sampling = Sampling(max_tokens=1000, temperature=1.0, repetition_penalty=1.0, draws=10)
    own: Sampling = Sampling(max_tokens=256, temperature=0.0, repetition_penalty=1.0, draws=1)
    evaluation: Sampling = Sampling(max_tokens=1000, temperature=1.0, repetition_penalty=1.0, draws=10)
    bar: Bar = Bar()
    limit: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "study", StudyError)
        if not self.vectors or not self.seeds:
            raise StudyError(f"study '{self.name}' names no vector, or no seed: add [[vectors]] and seeds = [0]")
        known = [each.trait for each in self.vectors]
        for trait in [*(each.trait for each in self.separations), *(each.trait for each in self.filterings)]:
            if trait not in known:
                raise StudyError(f"study '{self.name}': '{trait}' is measured along no vector of [[vectors]]")
        needing = [each.trait for each in self.vectors if not each.file]
        if not self.judge and (needing or self.filterings):
            raise StudyError(f"study '{self.name}' names no judge, and vectors or trained models need one: add judge")

    @property
    def traits(self) -> tuple[str, ...]:
        """The traits, in the order of their vectors."""
        return tuple(each.trait for each in self.vectors)
