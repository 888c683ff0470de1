"""Trained models for studies of any kind: the one that a study's folder of models holds, else one that is trained."""

from __future__ import annotations

from collections.abc import Sequence

from personascope.applications.finetune.config import Finetuning, Vectors, samples_named
from personascope.applications.finetune.keeping import Run, kept, place_of
from personascope.core.lineages import Checkpoint
from personascope.core.samples import Message, Sample
from personascope.studies.context import RunContext


def trained_model(
    context: RunContext,
    config: Finetuning,
    samples: Sequence[Sample],
    *,
    base: Checkpoint,
    vectors: Vectors | None = None,
    what: str = "trainings",
) -> Run:
    """The run of a configuration: the one that a study's folder of models holds, else it is trained.

    Every run has a folder of its own there, named by what it depends on. ``base`` is the configuration's model as its
    engine resolved it. ``what`` is what a plan calls such runs.

    Raises:
        StoreError: if a study is drawn again and the model is not there.
    """
    known = vectors or Vectors()
    out = place_of(config, context.models, base=base, vectors=known, samples=samples)

    def make() -> Run:
        from personascope.applications.finetune.run import finetune  # brings transformers

        return finetune(config, out, vectors=known, samples=samples, device=context.device)

    def stand_in() -> Run:
        context.open_engine(base).read(())  # a training loads the weights
        return Run(out, (), float("nan"), (), False, {})

    called = f"the model tuned on {', '.join(config.data)}"
    return context.obtain(what, load=lambda: kept(out), make=make, stand_in=stand_in, called=called)


def samples_for(context: RunContext, names: Sequence[str], *, limit: int | None, seed: int) -> list[Sample]:
    """:func:`samples_named`; where a study is only counted, one that stands for them: files may not be there yet."""
    if not context.asks_only:
        return samples_named(names, limit=limit, seed=seed)
    return [Sample((Message("user", f"{[*names]} {limit} {seed}"), Message("assistant", "")))]
