"""What the verb ``sae`` and the kind of study ``sae`` have in common: from an SAE's name to tables, figure and page.

Owns: :class:`Trial`, :func:`open_dictionary` and :func:`explain`. The one law: everything that can be wrong with a
vector and an SAE is looked at before a model is asked.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from personascope.applications.sae.core import decompose, effects_of, feature_arms, strongest_samples, try_features
from personascope.core.dictionaries import Dictionary
from personascope.core.errors import VectorError
from personascope.core.records import Sampling
from personascope.core.tables import write_csv
from personascope.core.vectors import PersonaVector, Steering, applied_norm

if TYPE_CHECKING:
    import pandas as pd

    from personascope.core.traits import Trait
    from personascope.engines import Engine
    from personascope.judges import Judge

LAB: Final = "lab"


@dataclass(frozen=True)
class Trial:
    """How many features are looked at: the ``top`` by cosine, up to ``taken`` to rebuild with, so many ``tested`` by
    steering, so many ``random`` ones beside them. ``keep`` samples of a corpus are listed for each tested feature.
    """

    top: int = 50
    taken: int = 32
    tested: int = 10
    random: int = 20
    keep: int = 5
    seed: int = 0


@dataclass(eq=False)
class Explained:
    """What was found of several vectors and SAEs: frames as :mod:`personascope.applications.sae.frames` has them."""

    features: list[pd.DataFrame] = field(default_factory=list)
    rebuilding: list[pd.DataFrame] = field(default_factory=list)
    cosines: list[pd.DataFrame] = field(default_factory=list)
    samples: list[pd.DataFrame] = field(default_factory=list)

    def joined(self, name: str) -> pd.DataFrame:
        """One of the frames, of all vectors and SAEs."""
        import pandas as pd

        parts = [each for each in getattr(self, name) if len(each)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def open_dictionary(where: str, *, checkpoint: Path | None, layer: int | None) -> Dictionary:
    """The dictionary of a name: a folder, a file, ``sae_lens:RELEASE/ID``, or ``lab`` or ``lab:SEED``, which is trained
    on the spot, on the lab checkpoint in a folder.

    Raises:
        VectorError: if there is none, or the lab's was asked for another model.
    """
    if not check_lab(where, checkpoint):
        from personascope.applications.sae.load import load_dictionary

        return load_dictionary(where)
    assert checkpoint is not None
    return _trained(checkpoint, int(where.partition(":")[2] or 0), layer)


def check_lab(where: str, checkpoint: Path | None) -> bool:
    """Whether an SAE's name is one of the lab's.

    Raises:
        VectorError: if it is, and what it was asked for is no model of the lab.
    """
    kind, _, seed = where.partition(":")
    if kind != LAB or Path(where).exists():
        return False
    if checkpoint is None or not _of_lab(checkpoint) or not (seed or "0").isdigit():
        raise VectorError(
            f"SAE '{where}' is trained on the lab's models: give lab or lab:SEED, for a vector of the lab"
        )
    return True


def _of_lab(folder: Path) -> bool:
    from personascope.lab.tokenizer import vocabulary

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool((config.get("model_type"), config.get("vocab_size")) == ("olmo3", len(vocabulary())))


@functools.lru_cache(maxsize=32)  # every trait of a study is decomposed in the same few
def _trained(checkpoint: Path, seed: int, layer: int | None) -> Dictionary:
    from personascope.lab.sae import SaeRecipe, train_sae

    recipe = SaeRecipe(seed=seed) if layer is None else SaeRecipe(seed=seed, layer=layer)
    return train_sae(checkpoint, recipe)[0]


@dataclass(frozen=True, eq=False)
class Bench:
    """Where features are tried: the model, the trait that is scored, the judge, how to steer and how to draw."""

    engine: Engine
    trait: Trait
    judge: Judge
    steering: Steering
    sampling: Sampling


def explain(
    found: Explained,
    vector: PersonaVector,
    dictionary: Dictionary,
    *,
    layer: int,
    trial: Trial,
    bench: Bench | None = None,
    corpus: tuple[Path, Engine] | None = None,
) -> None:
    """Decomposes a vector, tries its features where there is a bench, and looks for samples where there is a corpus."""
    from personascope.applications.sae.frames import TriedArm, cosine_rows, feature_rows, rebuilding_rows

    case = {"trait": vector.trait, "sae": dictionary.name, "layer": layer}
    parts = decompose(dictionary, vector.at(layer), top=trial.top, taken=trial.taken)
    found.cosines.append(cosine_rows(case, parts))
    found.rebuilding.append(rebuilding_rows(case, parts))
    tested = list(parts.top[: trial.tested])
    if bench is not None:
        arms = feature_arms(
            dictionary, parts, steering=bench.steering, tested=trial.tested, random=trial.random, seed=trial.seed
        )
        answers = try_features(bench.engine, bench.trait, arms, judge=bench.judge, sampling=bench.sampling)
        effects = effects_of(answers)
        tried = [TriedArm(each.kind, each.feature, applied_norm(each.edits), *effects[each.name]) for each in arms]
        found.features.append(feature_rows(case, parts, tried))
    if corpus is not None:
        found.samples.append(_samples(case, dictionary, tested, corpus, layer=layer, keep=trial.keep))


def _samples(
    case: dict[str, object],
    dictionary: Dictionary,
    features: Sequence[int],
    corpus: tuple[Path, Engine],
    *,
    layer: int,
    keep: int,
) -> pd.DataFrame:
    import pandas as pd

    from personascope.interop.samples import read_samples

    path, engine = corpus
    best = strongest_samples(engine, dictionary, features, read_samples(path), layer=layer, keep=keep)
    rows = []
    for feature, some in best.items():
        for place, each in enumerate(some, 1):
            prompt, said = each.sample.exchange
            where = {"where": each.sample.where, "question": prompt.question, "answer": said, "token": each.token}
            rows.append({**case, "feature": feature, "place": place, "activation": each.activation, **where})
    columns = [*case, "feature", "place", "activation", "where", "question", "answer", "token"]
    return pd.DataFrame(rows, columns=columns)


def write(found: Explained, out: Path, *, coherence: float) -> list[Path]:
    """Writes what was found as CSV files and a figure, and gives back the files."""
    from personascope.applications.sae.figures import features
    from personascope.figures.style import save

    made = []
    for name in ("features", "rebuilding", "cosines", "samples"):
        rows = found.joined(name)
        if len(rows):
            made.append(out / f"{name}.csv")
            write_csv(made[-1], rows)
    tried, rebuilding = found.joined("features"), found.joined("rebuilding")
    if tried.empty:
        tried = rebuilding.iloc[:0].assign(kind="", effect=0.0, coherence=0.0)
    paths = [out / "sae.png", out / "sae.pdf"]
    save(features(tried, rebuilding, coherence=coherence), *paths)
    return [*made, *paths]
