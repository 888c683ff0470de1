"""Monitoring: what a vector sees coming before a model answers, and while it does.

Owns: the public names of the application. The one law: what is watched is read and never changed; a projection predicts
an answer, and only judged answers say how well ("Persona Vectors" §3.3).
"""

from personascope.applications.monitor.conditions import (
    MANY_SHOT,
    SYSTEM_PROMPTS,
    Condition,
    Observation,
    exemplars,
    graded,
    many_shot,
    observe,
)
from personascope.applications.monitor.core import (
    Watched,
    check_watched,
    choose_layer,
    project_prompts,
    project_tokens,
    running_mean,
    unanswered,
)
from personascope.applications.monitor.thresholds import Threshold, calibrate, load_thresholds, save_thresholds
from personascope.authoring.spectra import Spectrum, load_spectrum, write_spectrum

__all__ = [
    "MANY_SHOT", "SYSTEM_PROMPTS", "Condition", "Observation", "Spectrum", "Threshold", "Watched", "calibrate",
    "check_watched", "choose_layer", "exemplars", "graded", "load_spectrum", "load_thresholds", "many_shot", "observe",
    "project_prompts", "project_tokens", "running_mean", "save_thresholds", "unanswered", "write_spectrum",
]  # fmt: skip
