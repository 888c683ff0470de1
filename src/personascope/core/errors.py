"""The one family of errors.

Owns: every exception personascope raises on purpose. The one law: a message says what was asked and of
what, what is true, and what to do; it fits on one line; and it comes before anything costly has started.
Each class also inherits the standard error it specialises, so ``except ValueError`` still works.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PersonascopeError(Exception):
    """Something the user can mend. The command line prints its message without a traceback."""


class TraitError(PersonascopeError, ValueError):
    """A trait is unknown, or its file does not describe one."""


class LineageError(PersonascopeError, ValueError):
    """A lineage is unknown, empty, or its file does not describe one."""


class CheckpointError(PersonascopeError, OSError):
    """The weights or the tokenizer of a checkpoint cannot be had."""


class StudyError(PersonascopeError, ValueError):
    """A study file asks for something that does not exist."""


class LayerError(PersonascopeError, IndexError):
    """A layer was asked for that the model does not have."""


class VectorError(PersonascopeError, ValueError):
    """A vector does not fit: wrong width, not finite, no length, or not a vector file at all."""


class EngineError(PersonascopeError, RuntimeError):
    """An engine cannot do what was asked of it."""


class JudgeError(PersonascopeError, RuntimeError):
    """A judge cannot score what it was given."""


class WriterError(PersonascopeError, RuntimeError):
    """A writer cannot write what it was asked for."""


class DraftError(WriterError):
    """A writer's drafts were not valid, however often it was told why. ``drafts`` is what it wrote, for people."""

    def __init__(self, message: str, drafts: str) -> None:
        super().__init__(message)
        self.drafts = drafts


class PluginError(PersonascopeError, ImportError):
    """What was asked for is brought by a package that is not installed, or that cannot be imported."""


class SampleError(PersonascopeError, ValueError):
    """A dataset of training samples cannot be read, or a row of it holds no conversation."""


class DiskError(PersonascopeError, OSError):
    """The weights of checkpoints do not fit what they may take on the disk."""


class StoreError(PersonascopeError, OSError):
    """A store cannot be read or written. What it already recorded stays recorded."""


def check_layer(layer: int, last_layer: int, whose: str) -> None:
    """Refuses a layer a model does not have: layers run from 0 (the embedding) to its number of blocks.

    Example:
        >>> check_layer(40, 32, "OLMo-3")
        Traceback (most recent call last):
        personascope.core.errors.LayerError: layer 40 asked of OLMo-3, which has 32 blocks: choose 0 (embedding) to 32
    """
    if not 0 <= layer <= last_layer:
        raise LayerError(
            f"layer {layer} asked of {whose}, which has {last_layer} blocks: choose 0 (embedding) to {last_layer}"
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the closest known one, and all of them.

    Example:
        >>> nearest("evl", ["evil", "humorous"])
        "did you mean 'evil'? Known: evil, humorous"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Known: {', '.join(names) if names else '(none)'}"
