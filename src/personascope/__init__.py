"""personascope: persona vectors, from a trait's description to its path through training.

The public names, in the order data flows. Each is loaded on first use, so importing personascope imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what the names are, for type checkers and editors; a test holds it to the table below
    from personascope.analysis.effects import curves as curves
    from personascope.analysis.effects import effects as effects
    from personascope.analysis.effects import growth as growth
    from personascope.analysis.effects import question_effects as question_effects
    from personascope.analysis.frames import answer_rows as answer_rows
    from personascope.analysis.significance import sign_flip as sign_flip
    from personascope.applications.facets.core import annotate as annotate
    from personascope.applications.facets.core import facet_agreement as facet_agreement
    from personascope.applications.facets.core import facet_rates as facet_rates
    from personascope.authoring.forms import combine_traits as combine_traits
    from personascope.authoring.forms import transform_trait as transform_trait
    from personascope.authoring.lint import check_trait as check_trait
    from personascope.authoring.traits import write_trait as write_trait
    from personascope.core.errors import PersonascopeError as PersonascopeError
    from personascope.core.facets import FacetSet as FacetSet
    from personascope.core.facets import load_facets as load_facets
    from personascope.core.lineages import Checkpoint as Checkpoint
    from personascope.core.lineages import Lineage as Lineage
    from personascope.core.lineages import Milestone as Milestone
    from personascope.core.lineages import load_lineage as load_lineage
    from personascope.core.records import Answer as Answer
    from personascope.core.records import Bar as Bar
    from personascope.core.records import Case as Case
    from personascope.core.records import Edit as Edit
    from personascope.core.records import Probe as Probe
    from personascope.core.records import Request as Request
    from personascope.core.records import Response as Response
    from personascope.core.records import Sampling as Sampling
    from personascope.core.records import Verdict as Verdict
    from personascope.core.steering import Steering as Steering
    from personascope.core.traits import Contrast as Contrast
    from personascope.core.traits import Prompt as Prompt
    from personascope.core.traits import Rubric as Rubric
    from personascope.core.traits import Trait as Trait
    from personascope.core.traits import load_trait as load_trait
    from personascope.core.traits import save_trait as save_trait
    from personascope.core.vectors import NoVector as NoVector
    from personascope.core.vectors import PersonaVector as PersonaVector
    from personascope.core.vectors import load_vector as load_vector
    from personascope.doctor import examine as examine
    from personascope.engines.opening import Opener as Opener
    from personascope.engines.opening import open_engine as open_engine
    from personascope.engines.opening import open_lineage as open_lineage
    from personascope.figures.emergence import emergence as emergence
    from personascope.judges.opening import open_judge as open_judge
    from personascope.store.caching import RememberingEngine as RememberingEngine
    from personascope.store.caching import RememberingJudge as RememberingJudge
    from personascope.store.store import Store as Store
    from personascope.studies.trace import Study as Study
    from personascope.studies.trace import load_study as load_study
    from personascope.studies.trace import plan_study as plan_study
    from personascope.studies.trace import run_study as run_study
    from personascope.tracing.controls import Controls as Controls
    from personascope.tracing.controls import orthogonal_direction as orthogonal_direction
    from personascope.tracing.controls import other_traits as other_traits
    from personascope.tracing.controls import random_direction as random_direction
    from personascope.tracing.controls import shuffled_labels as shuffled_labels
    from personascope.tracing.eval_data import Choice as Choice
    from personascope.tracing.eval_data import multiple_choice as multiple_choice
    from personascope.tracing.eval_data import perplexity as perplexity
    from personascope.tracing.extraction import Method as Method
    from personascope.tracing.extraction import extract as extract
    from personascope.tracing.generation import Arm as Arm
    from personascope.tracing.generation import answer as answer
    from personascope.tracing.generation import respond as respond
    from personascope.tracing.norms import measure_norms as measure_norms
    from personascope.tracing.operating_point import Grid as Grid
    from personascope.tracing.operating_point import select_steering as select_steering
    from personascope.tracing.tracing import Absence as Absence
    from personascope.tracing.tracing import Effect as Effect
    from personascope.tracing.tracing import OperatingPoint as OperatingPoint
    from personascope.tracing.tracing import Prompted as Prompted
    from personascope.tracing.tracing import Subject as Subject
    from personascope.tracing.tracing import paired_effect as paired_effect
    from personascope.tracing.tracing import trace as trace
    from personascope.writers.opening import open_writer as open_writer

__version__ = "0.1.0"

_PLACES = {
    "personascope.core.errors": ["PersonascopeError"],
    "personascope.core.traits": ["Trait", "Contrast", "Rubric", "Prompt", "load_trait", "save_trait"],
    "personascope.core.facets": ["FacetSet", "load_facets"],
    "personascope.core.lineages": ["Checkpoint", "Milestone", "Lineage", "load_lineage"],
    "personascope.core.records": [
        "Sampling",
        "Edit",
        "Probe",
        "Request",
        "Response",
        "Case",
        "Verdict",
        "Answer",
        "Bar",
    ],
    "personascope.core.vectors": ["PersonaVector", "NoVector", "load_vector"],
    "personascope.core.steering": ["Steering"],
    "personascope.engines.opening": ["open_engine", "open_lineage", "Opener"],
    "personascope.doctor": ["examine"],
    "personascope.judges.opening": ["open_judge"],
    "personascope.writers.opening": ["open_writer"],
    "personascope.authoring.traits": ["write_trait"],
    "personascope.authoring.forms": ["transform_trait", "combine_traits"],
    "personascope.authoring.lint": ["check_trait"],
    "personascope.store.store": ["Store"],
    "personascope.store.caching": ["RememberingEngine", "RememberingJudge"],
    "personascope.tracing.generation": ["respond", "answer", "Arm"],
    "personascope.tracing.extraction": ["Method", "extract"],
    "personascope.tracing.controls": [
        "Controls",
        "random_direction",
        "orthogonal_direction",
        "other_traits",
        "shuffled_labels",
    ],
    "personascope.tracing.operating_point": ["Grid", "select_steering"],
    "personascope.tracing.tracing": [
        "Subject",
        "OperatingPoint",
        "Effect",
        "Prompted",
        "Absence",
        "trace",
        "paired_effect",
    ],
    "personascope.studies.trace": ["Study", "load_study", "run_study", "plan_study"],
    "personascope.tracing.norms": ["measure_norms"],
    "personascope.tracing.eval_data": ["Choice", "multiple_choice", "perplexity"],
    "personascope.applications.facets.core": ["annotate", "facet_rates", "facet_agreement"],
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
