"""Running a study: its items become files in the output folder, and the store keeps the study.

A study that was finished on a store is drawn again from the store alone: see :mod:`personascope.studies.replay`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import tomlkit

from personascope.core.errors import StudyError
from personascope.core.files import read_toml, write_text
from personascope.core.tables import write_csv
from personascope.engines import Engine
from personascope.studies.base import BaseStudy, Failure, Figure, Item, Page, Summary, Table, VectorFile
from personascope.studies.context import RunContext
from personascope.studies.registry import StudyFile

STUDY, RUN = "study.toml", "run.json"
_PACKAGES = ("personascope", "numpy", "pandas", "scipy", "torch", "transformers", "vllm", "openai")


@dataclass(eq=False)
class Report:
    """What a study gave: summaries to show, the files it wrote, its tables by name, and what could not be done."""

    summaries: list[Summary] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def run(file: StudyFile, context: RunContext, *, command: tuple[str, ...] = ()) -> Report:
    """Runs a study in a context: writes its files, then ``study.toml`` and ``run.json``, and keeps it in the store.

    ``run.json`` says the command line and the versions of what computed; ``study.toml`` reads as the same study.
    """
    report = write_items(file.study, context)
    _describe(file, context, command)
    keep(file, context)
    return report


def write_items(study: BaseStudy, context: RunContext) -> Report:
    """Runs a study and writes each item as it comes."""
    return write_all(study.run(context), context.out, written=context.written)


def write_all(items: Iterable[Item], out: Path, *, written: Callable[[Path], None] = lambda path: None) -> Report:
    """Writes items of a study or of a command, each as it comes."""
    report = Report()
    for item in items:
        for path in _written(item, out, report):
            report.files.append(path)
            written(path)
    return report


def folder_for(out: Path, study: BaseStudy) -> Path:
    """Where the files of a study go: ``out``, or, where that holds another study's files, a folder in it."""
    described = out / STUDY
    if not described.is_file():
        return out
    other = read_toml(described, error=StudyError).get("name")
    return out if other == study.name else out / str(study.name)


def keep(file: StudyFile, context: RunContext) -> None:
    """Keeps a study that was run in its store, so that it can be drawn again."""
    source = str(Path(file.source).absolute())  # the files it names are found beside its own, wherever it is drawn from
    about = file.study.kept(context, table=file.table, source=source)
    if not about:
        return
    engines = {name: facts_of(engine) for name, engine in context.opened.items()}
    value = json.loads(json.dumps({**about, "engines": engines}, default=str))
    context.store.keep_study(file.name, value)


def facts_of(engine: Engine | str) -> dict[str, Any]:
    """What is kept of an engine, or of why there is none, so that a record of it can stand for it."""
    if isinstance(engine, str):
        return {"absent": engine}
    shape = {"last_layer": engine.last_layer, "hidden_size": engine.hidden_size}
    return {"checkpoint": asdict(engine.checkpoint), "identity": dict(engine.identity), **shape}


def write_item(item: Item, out: Path) -> list[Path]:
    """Writes the files of one item, for a command that is no study."""
    return _written(item, out, Report())


def _written(item: Item, out: Path, report: Report) -> list[Path]:
    """Writes what an item says; what is not a file goes into the report."""
    match item:
        case Table():
            frame = report.tables[item.name] = item.frame
            write_csv(out / f"{item.name}.csv", frame)
            return [out / f"{item.name}.csv"]
        case Figure():
            from personascope.figures.style import save

            paths = [out / f"{item.name}.{ending}" for ending in ("png", "pdf")]
            out.mkdir(parents=True, exist_ok=True)
            save(item.draw(), *paths)
            return paths
        case Page():
            write_text(out / item.name, item.text() if callable(item.text) else item.text)
            return [out / item.name]
        case VectorFile():
            path = out / "vectors" / f"{item.name.replace('/', '_')}.safetensors"
            item.vector.save(path)
            return [path]
        case Summary():
            report.summaries.append(item)
        case Failure():
            report.failures.append(item.reason)
    return []


def _describe(file: StudyFile, context: RunContext, command: tuple[str, ...]) -> None:
    """Writes what was run and with what: the study, the command line and the versions."""
    write_text(context.out / STUDY, tomlkit.dumps(file.study.table()))
    versions = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    how = {"engine": context.engine, "device": context.device, "dtype": context.dtype}
    about = {"study": file.name, "kind": file.kind, "source": file.source, "command": list(command), **how}
    write_text(context.out / RUN, json.dumps({**about, "versions": versions}, indent=2) + "\n")


def context_for_part(context: RunContext, name: str) -> RunContext:
    """The same context for a study that is part of another: its own folder and notes, the same store and ports."""
    return replace(context, out=context.out / name, opened={}, judges=[])
