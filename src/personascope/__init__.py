"""personascope: persona vectors, from a trait's description to its path through training.

The public names, in the order data flows. Each is loaded on first use, so importing personascope imports no torch.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what the names are, for type checkers and editors; a test holds it to the table below
    from personascope.analysis.effects import curves as curves
    from personascope.analysis.effects import effects as effects
    from personascope.analysis.effects import growth as growth
    from personascope.analysis.effects import question_effects as question_effects
    from personascope.analysis.frames import answer_rows as answer_rows
    from personascope.analysis.significance import sign_flip as sign_flip
    from personascope.annotating import annotate as annotate
    from personascope.annotating import facet_agreement as facet_agreement
    from personascope.annotating import facet_rates as facet_rates
    from personascope.applications.capability import Choice as Choice
    from personascope.applications.capability import multiple_choice as multiple_choice
    from personascope.applications.capability import perplexity as perplexity
    from personascope.applications.norms import measure_norms as measure_norms
    from personascope.controls import Controls as Controls
    from personascope.controls import orthogonal_direction as orthogonal_direction
    from personascope.controls import other_traits as other_traits
    from personascope.controls import random_direction as random_direction
    from personascope.controls import shuffled_labels as shuffled_labels
    from personascope.doctor import examine as examine
    from personascope.engines.opening import Opener as Opener
    from personascope.engines.opening import open_engine as open_engine
    from personascope.engines.opening import open_lineage as open_lineage
    from personascope.errors import PersonascopeError as PersonascopeError
    from personascope.extract import Method as Method
    from personascope.extract import extract as extract
    from personascope.facets import FacetSet as FacetSet
    from personascope.facets import load_facets as load_facets
    from personascope.figures.emergence import emergence as emergence
    from personascope.judges.opening import open_judge as open_judge
    from personascope.lineages import Checkpoint as Checkpoint
    from personascope.lineages import Lineage as Lineage
    from personascope.lineages import Milestone as Milestone
    from personascope.lineages import load_lineage as load_lineage
    from personascope.linting import check_trait as check_trait
    from personascope.plans import plan_study as plan_study
    from personascope.records import Answer as Answer
    from personascope.records import Bar as Bar
    from personascope.records import Case as Case
    from personascope.records import Edit as Edit
    from personascope.records import Probe as Probe
    from personascope.records import Request as Request
    from personascope.records import Response as Response
    from personascope.records import Sampling as Sampling
    from personascope.records import Verdict as Verdict
    from personascope.remembering import RememberingEngine as RememberingEngine
    from personascope.remembering import RememberingJudge as RememberingJudge
    from personascope.respond import Arm as Arm
    from personascope.respond import answer as answer
    from personascope.respond import respond as respond
    from personascope.selection import Grid as Grid
    from personascope.selection import select_steering as select_steering
    from personascope.store import Store as Store
    from personascope.studies import Study as Study
    from personascope.studies import load_study as load_study
    from personascope.studies import run_study as run_study
    from personascope.trace import Absence as Absence
    from personascope.trace import Effect as Effect
    from personascope.trace import OperatingPoint as OperatingPoint
    from personascope.trace import Prompted as Prompted
    from personascope.trace import Subject as Subject
    from personascope.trace import paired_effect as paired_effect
    from personascope.trace import trace as trace
    from personascope.trait_forms import combine_traits as combine_traits
    from personascope.trait_forms import transform_trait as transform_trait
    from personascope.trait_writing import write_trait as write_trait
    from personascope.traits import Contrast as Contrast
    from personascope.traits import Prompt as Prompt
    from personascope.traits import Rubric as Rubric
    from personascope.traits import Trait as Trait
    from personascope.traits import load_trait as load_trait
    from personascope.traits import save_trait as save_trait
    from personascope.vectors import NoVector as NoVector
    from personascope.vectors import PersonaVector as PersonaVector
    from personascope.vectors import Steering as Steering
    from personascope.vectors import load_vector as load_vector
    from personascope.writers.opening import open_writer as open_writer

__version__ = "0.1.0"

_PLACES = {
    "personascope.errors": ["PersonascopeError"],
    "personascope.traits": ["Trait", "Contrast", "Rubric", "Prompt", "load_trait", "save_trait"],
    "personascope.facets": ["FacetSet", "load_facets"],
    "personascope.lineages": ["Checkpoint", "Milestone", "Lineage", "load_lineage"],
    "personascope.records": ["Sampling", "Edit", "Probe", "Request", "Response", "Case", "Verdict", "Answer", "Bar"],
    "personascope.vectors": ["PersonaVector", "NoVector", "Steering", "load_vector"],
    "personascope.engines.opening": ["open_engine", "open_lineage", "Opener"],
    "personascope.doctor": ["examine"],
    "personascope.judges.opening": ["open_judge"],
    "personascope.writers.opening": ["open_writer"],
    "personascope.trait_writing": ["write_trait"],
    "personascope.trait_forms": ["transform_trait", "combine_traits"],
    "personascope.linting": ["check_trait"],
    "personascope.store": ["Store"],
    "personascope.remembering": ["RememberingEngine", "RememberingJudge"],
    "personascope.respond": ["respond", "answer", "Arm"],
    "personascope.extract": ["Method", "extract"],
    "personascope.controls": [
        "Controls",
        "random_direction",
        "orthogonal_direction",
        "other_traits",
        "shuffled_labels",
    ],
    "personascope.selection": ["Grid", "select_steering"],
    "personascope.trace": ["Subject", "OperatingPoint", "Effect", "Prompted", "Absence", "trace", "paired_effect"],
    "personascope.studies": ["Study", "load_study", "run_study"],
    "personascope.plans": ["plan_study"],
    "personascope.applications.norms": ["measure_norms"],
    "personascope.applications.capability": ["Choice", "multiple_choice", "perplexity"],
    "personascope.annotating": ["annotate", "facet_rates", "facet_agreement"],
    "personascope.analysis.frames": ["answer_rows"],
    "personascope.analysis.effects": ["question_effects", "effects", "curves", "growth"],
    "personascope.analysis.significance": ["sign_flip"],
    "personascope.figures.emergence": ["emergence"],
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [*_PLACE_OF]


def __getattr__(name: str) -> Any:
    if name not in _PLACE_OF:
        raise AttributeError(f"personascope has no '{name}'")
    value = getattr(importlib.import_module(_PLACE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACE_OF})


class _Package(types.ModuleType):
    """Keeps ``personascope.trace`` the function: importing the module of that name would otherwise take its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType) and _PLACE_OF.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
