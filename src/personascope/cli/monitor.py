"""The verb that watches prompts: monitor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import Adapter, Device, Dtype, Json, Model, Revision, Seed, Temperature, Tokens

if TYPE_CHECKING:
    from personascope.applications.monitor import Threshold, Watched
    from personascope.applications.monitor.files import Scoring
    from personascope.engines import Engine

PAGED = 12
"""How many prompts a page of tokens shows for each vector: those that project highest."""
_DEPTH = 0.6


def monitor(
    model: Model,
    prompts: Annotated[Path, typer.Option(help="What was asked: .jsonl, .csv or .parquet with prompt or messages.")],
    vectors: Annotated[list[Path], typer.Option(help="A vector file; give it once for each.")],
    layer: Annotated[
        list[str] | None, typer.Option(help="Where to watch, for all vectors, or TRAIT=LAYER; by default 0.6 deep.")
    ] = None,
    threshold: Annotated[
        Path | None, typer.Option(help="Thresholds to flag by; with --calibrate the file they are written to.")
    ] = None,
    calibrate: Annotated[
        float | None, typer.Option(help="Make thresholds of these prompts, that flag such a share at most.")
    ] = None,
    answer: Annotated[bool, typer.Option("--answer", help="Let the model answer, and watch the answers too.")] = False,
    tokens: Annotated[bool, typer.Option("--tokens", help="Also a page of the highest prompts, every token.")] = False,
    out: Annotated[
        Path | None, typer.Option(help=".jsonl, .csv or .parquet; by default PROMPTS-scores.jsonl, here.")
    ] = None,
    revision: Revision = None,
    adapter: Adapter = None,
    device: Device = None,
    dtype: Dtype = None,
    max_tokens: Tokens = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Project the last token of every prompt on persona vectors, before a word is answered, and flag what is high.

    Answers that stand beside the prompts, or that the model gives with --answer, are projected too (their mean). A
    killed run goes on where it stopped.
    """
    from personascope.applications.monitor import check_watched
    from personascope.applications.monitor.files import Scoring, check_scored, count_prompts, score_prompts
    from personascope.applications.monitor.thresholds import check_rate
    from personascope.cli.options import sampling_for
    from personascope.core.errors import StudyError
    from personascope.engines.opening import open_engine

    path = outputs.check_file(out or Path(f"{prompts.stem}-scores.jsonl"))
    page = outputs.check_file(path.with_suffix(".html")) if tokens else None
    kept = threshold or Path("thresholds.json")
    made = None if calibrate is None else outputs.check_file(kept, option="--threshold")
    check_scored(path, prompts)
    count = count_prompts(prompts)
    if calibrate is not None:
        check_rate(calibrate, count)
    engine = open_engine(model, revision=revision, adapter=adapter, device=device, dtype=dtype)
    known = _known(threshold) if calibrate is None else {}
    watched = _watched(vectors, layer or (), known, engine)
    check_watched(engine, watched)
    if known and not any(each.name in known for each in watched):
        raise StudyError(
            f"{threshold} has thresholds of {', '.join(known)}, and the vectors given are "
            f"{', '.join(each.name for each in watched)}: nothing would be flagged; give those, or calibrate"
        )
    for each in watched:
        if each.name in known:
            known[each.name].check(each, engine.checkpoint, source=str(threshold))
    _say_where(watched, engine)
    sampling = sampling_for(model, draws=1, max_tokens=max_tokens, temperature=temperature, seed=seed)
    scoring = Scoring(prompts, engine, tuple(watched), sampling if answer else None)
    journal = path.with_name(f"{path.name}.partial")
    with terminal.progress(count) as bar:
        score_prompts(scoring, journal, done=lambda done, fresh: bar("reading", done, fresh))
    _finish(scoring, journal, path, page, known, (calibrate, made), as_json=as_json)


def _finish(
    scoring: Scoring,
    journal: Path,
    path: Path,
    page: Path | None,
    known: dict[str, Threshold],
    calibrating: tuple[float | None, Path | None],
    *,
    as_json: bool,
) -> None:
    """Everything that is written once the last prompt is read."""
    from personascope.applications.monitor import calibrate, save_thresholds
    from personascope.applications.monitor.files import projections_of, write_scores

    rate, made = calibrating
    along = projections_of(journal, len(scoring.watched))
    if rate is not None and made is not None:
        found = calibrate(along, scoring.watched, scoring.engine.checkpoint, rate=rate)
        known = {each.name: each for each in found}
    # The page may fail (it loads a tokenizer), so it comes first: the journal is there until all is written.
    if page is not None:
        _write_page(scoring, journal, page, known)
    flagged, unread = write_scores(journal, path, scoring.watched, known)
    if made is not None:
        save_thresholds(list(known.values()), made)
    journal.unlink()
    files = [each for each in (path, page, made) if each is not None]
    rows = [_summary(each, along[:, place], known.get(each.name), flagged.get(each.name, 0))
            for place, each in enumerate(scoring.watched)]  # fmt: skip
    if as_json:
        terminal.print_json({"files": files, "prompts": len(along), "unread": unread, "vectors": rows})
        return
    table = [tuple(_cell(value) for value in row.values()) for row in rows]
    if unread:
        told = f"{unread} prompts could not be read: 'problem' in {path} says why"
        terminal.err.print(told, highlight=False, soft_wrap=True)
    terminal.show_rows(f"last-prompt-token projections of {len(along):,} prompts", tuple(rows[0]), table)
    terminal.out.print("wrote " + ", ".join(map(str, files)), highlight=False, soft_wrap=True)


def _summary(watched: Watched, along: Any, limit: Threshold | None, flagged: int) -> dict[str, Any]:
    """What is shown of one vector."""
    import numpy as np

    low, middle, high = np.quantile(along, [0.05, 0.5, 0.95]) if len(along) else (float("nan"),) * 3
    told = {"threshold": limit.projection, "flagged": flagged} if limit else {"threshold": None, "flagged": None}
    rate = f"{limit.low:.2%} to {limit.high:.2%}" if limit else None
    ends = {"5 %": float(low), "median": float(middle), "95 %": float(high)}
    return {"vector": watched.name, "layer": watched.layer, **ends, **told, "false alarms, 95 %": rate}


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _known(path: Path | None) -> dict[str, Threshold]:
    from personascope.applications.monitor import load_thresholds

    return {} if path is None else load_thresholds(path)


def _watched(
    paths: Sequence[Path], layers: Sequence[str], known: dict[str, Threshold], engine: Engine
) -> list[Watched]:
    """The vectors at their layers, named by trait, or by file where two are of one trait."""
    from personascope.applications.monitor import Watched
    from personascope.core.errors import VectorError
    from personascope.core.vectors import load_vector

    loaded = [load_vector(path) for path in paths]
    of_trait = Counter(each.trait for each in loaded)
    names = [each.trait if of_trait[each.trait] == 1 else path.stem for path, each in zip(paths, loaded, strict=True)]
    if len(set(names)) < len(names):
        raise VectorError(f"two vectors are called '{Counter(names).most_common(1)[0][0]}': give each file once")
    chosen = _layers(layers, names)
    found = []
    for name, vector in zip(names, loaded, strict=True):
        if name in chosen:
            found.append(Watched(name, vector, chosen[name]))
        elif name in known:
            found.append(Watched(name, vector, known[name].layer, "calibrated there"))
        else:
            reason = f"no layer was given, so {_DEPTH:g} of the depth"
            found.append(Watched(name, vector, round(_DEPTH * engine.last_layer), reason))
    return found


def _layers(given: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """The layer of each vector that was given one: a number for all, ``TRAIT=LAYER`` for one."""
    from personascope.core.errors import LayerError, nearest

    found: dict[str, int] = {}
    for each in sorted(given, key=lambda text: "=" in text):
        name, _, number = each.rpartition("=")
        if not number.isdecimal():
            raise LayerError(f"--layer {each} is no layer: give a number, or TRAIT=NUMBER")
        if name and name not in names:
            raise LayerError(f"--layer {each} names no vector that was given; {nearest(name, names)}")
        found |= {name: int(number)} if name else dict.fromkeys(names, int(number))
    return found


def _say_where(watched: Sequence[Watched], engine: Engine) -> None:
    """Where each vector is watched and why, and which were extracted from other weights."""
    for each in watched:
        other = each.vector.checkpoint != engine.checkpoint
        made = f"; extracted from {each.vector.checkpoint.label}, watched in {engine.checkpoint.label}" if other else ""
        terminal.err.print(
            f"{each.name}: layer {each.layer} ({each.reason}){made}", highlight=False, soft_wrap=True, markup=False
        )


def _write_page(scoring: Scoring, journal: Path, page: Path, known: dict[str, Threshold]) -> None:
    """The page of the prompts that project highest."""
    from personascope.applications.monitor import project_tokens
    from personascope.applications.monitor.files import highest
    from personascope.applications.monitor.page import ShadedText, token_page
    from personascope.core.files import write_text
    from personascope.engines.hf.rendering import token_texts

    names = [each.name for each in scoring.watched]
    shown = highest(scoring, journal, PAGED)
    responses = [response for _, response in shown]
    along = project_tokens(scoring.engine, responses, scoring.watched)
    pieces = token_texts(scoring.engine.checkpoint, [each.spoken[0] for each in responses])
    texts = [
        ShadedText(
            f"prompt {asked.name}", some, values, response.spoken[1], _notes(values, response.spoken[1], names, known)
        )
        for (asked, response), some, values in zip(shown, pieces, along, strict=True)
    ]
    layers = ", ".join(f"{each.name} at layer {each.layer}" for each in scoring.watched)
    about = (
        f"{scoring.engine.checkpoint.label}; {layers}. The {PAGED} prompts of {scoring.prompts.name} that project "
        "highest on each vector. The framed token is the prompt's last, the one that is scored; underlined tokens are "
        "an answer."
    )
    limits = {name: limit.projection for name, limit in known.items()}
    write_text(page, token_page(texts, names, title="Tokens along persona vectors", thresholds=limits, about=about))


def _notes(along: Any, start: int, names: Sequence[str], known: dict[str, Threshold]) -> tuple[str, ...]:
    """The last prompt token's projection on every vector, and whether it is flagged."""
    last = along[start - 1]
    return tuple(
        f"{name}: {value:.2f} at the last prompt token"
        + (", flagged" if name in known and known[name].flags(value) else "")
        for name, value in zip(names, last, strict=True)
    )
