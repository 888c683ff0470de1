"""Every name of personascope that the golden tests use.

When a module moves, this file alone changes: what the tests compute, assert and compare with stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

import personascope as ps
from personascope.analysis.monitoring import random_correlations as random_correlations
from personascope.applications.finetune.config import Finetuning as Finetuning
from personascope.applications.finetune.config import Vectors as Vectors
from personascope.applications.finetune.config import samples_named as samples_named
from personascope.applications.finetune.core import random_like as random_like
from personascope.applications.finetune.keeping import place_of as place_of
from personascope.applications.monitor import Watched
from personascope.applications.monitor.files import Scoring
from personascope.applications.sae.core import decompose, feature_arms
from personascope.applications.screen.study import random_gauges
from personascope.core.dictionaries import Dictionary as Dictionary
from personascope.core.identity import key_of as key_of
from personascope.core.samples import Message as Message
from personascope.core.samples import Sample as Sample
from personascope.engines.vllm.plan import salt_of as salt_of
from personascope.engines.vllm.plan import seed_of as seed_of
from personascope.judges.scripted import ScriptedJudge as ScriptedJudge
from personascope.store.caching import RememberingWriter as RememberingWriter
from personascope.tracing.extraction import Extraction as Extraction
from personascope.writers import Conversation as Conversation
from personascope.writers.scripted import ScriptedWriter as ScriptedWriter

COMMAND = ("-m", "personascope.cli")
"""What follows ``python`` on a command line."""
STUDIES = Path(ps.__file__).parent / "data" / "studies"
"""The folder of the bundled studies."""
LAB_WEIGHTS = Path(ps.__file__).parent / "lab" / "weights"
"""The folder of the lab's checkpoints."""


def random_directions_of_screening(*, seed: int, count: int, width: int) -> np.ndarray:
    """The random unit directions that a screening is compared with, ``[direction hidden]``."""
    study = SimpleNamespace(random=count, vectors=[SimpleNamespace(layer=1)])
    found = random_gauges(study, SimpleNamespace(hidden_size=width), seed=seed)
    return np.stack([each.probe.direction for each in found])


def random_features(dictionary: Dictionary, direction: np.ndarray, *, tested: int, random: int, seed: int) -> list[int]:
    """The features that a study of an autoencoder draws as controls of those it tests."""
    found = decompose(dictionary, direction, top=tested, taken=tested)
    steering = ps.Steering(layer=1, strength=1.0, unit="vector")
    arms = feature_arms(dictionary, found, steering=steering, tested=tested, random=random, seed=seed)
    return [each.feature for each in arms if each.kind == "random feature"]


def key_of_prompt_scores(prompts: Path, engine: object, vector: ps.PersonaVector, layer: int) -> str:
    """The key of a file of prompts that is scored along one vector."""
    return Scoring(prompts, engine, (Watched(vector.trait, vector, layer),)).key
