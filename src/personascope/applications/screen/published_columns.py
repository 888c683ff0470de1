"""Projections as the second paper's code writes them: columns with long names, in the very file that was measured.

A file is replaced whole or stays as it was; columns that are there are kept unless they are to be written anew. What a
column means is the published code's; where ours measures otherwise (prompt and answer are tokenised apart, the last
layer is read before the final norm), the page on screening says so.

Format (``eval/cal_projection.py``): one column per vector and layer, named ``{model}_{vector file's stem}_{type}_layer
{l}`` without spaces, ``model`` the last part of its name and the stem cut at its first dot; types ``proj`` (mean of the
response on the unit vector), ``prompt_last_proj`` (last prompt token) and ``cos_sim`` (cosine of the response mean).
Projection differences were left to its users; ours have types of their own, ``proj_diff`` and ``proj_diff_prompt``.
Input is JSON lines with ``messages``, the last of them the answer, or CSV with ``prompt``, already rendered, and
``answer``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, get_args

import numpy as np

from personascope.applications.screen.core import CHUNK, Gauge
from personascope.core.errors import LayerError, SampleError, StudyError, check_layer, nearest
from personascope.core.records import Request, Response, Sampling
from personascope.core.samples import Message, Sample
from personascope.core.tables import write_rows
from personascope.engines import Engine
from personascope.interop.samples import messages_of, read_rows

Type = Literal["proj", "prompt_last_proj", "cos_sim", "proj_diff", "proj_diff_prompt"]
TYPES: Final[tuple[str, ...]] = get_args(Type)
OWN = Sampling(max_tokens=1000, temperature=0.0, repetition_penalty=1.0, draws=1)
"""How the model's own answers are drawn for ``proj_diff``: greedy, as the published length."""


@dataclass(frozen=True)
class Column:
    """One published column: which vector file's stem, of which kind, at which layer, by which model."""

    model: str
    stem: str
    kind: Type
    layer: int

    @property
    def name(self) -> str:
        """What the column is called.

        Example:
            >>> Column.of("Qwen/Qwen2.5-7B-Instruct", "v/evil_response_avg_diff.pt", "proj", 20).name
            'Qwen2.5-7B-Instruct_evil_response_avg_diff_proj_layer20'
        """
        return f"{self.model}_{self.stem}_{self.kind}_layer{self.layer}"

    @classmethod
    def of(cls, model: str, vector: str | Path, kind: Type, layer: int) -> Column:
        """The column of a model's name or folder and a vector's file."""
        return cls(Path(str(model).rstrip("/")).name, Path(vector).name.partition(".")[0], kind, layer)


@dataclass(frozen=True)
class PublishedText:
    """A row to measure: the messages before the answer, or the prompt as it was rendered, and the answer."""

    messages: tuple[Message, ...] | None
    prompt: str
    answer: str


def published_text(row: Mapping[str, Any], where: str) -> PublishedText:
    """The prompt and the answer of a row, as the published code takes them: the answer is the last message.

    Raises:
        SampleError: if the row is of neither layout, or the last to speak is not the assistant.
    """
    if "messages" not in row:
        if not isinstance(row.get("prompt"), str) or not isinstance(row.get("answer"), str):
            raise SampleError(
                f"{where}: its columns ({', '.join(map(str, row))}) are neither messages nor a prompt and an answer: "
                "give what the published code takes, or use --out"
            )
        return PublishedText(None, row["prompt"], row["answer"])
    messages = messages_of(row, where)
    if messages[-1].role != "assistant":
        raise SampleError(f"{where}: its last message is the {messages[-1].role}'s: it is to be the answer")
    return PublishedText(messages[:-1], "", messages[-1].content)


def columns_missing(path: Path, columns: Sequence[Column], *, overwrite: bool) -> list[Column]:
    """The columns that are still to be computed: all of them, or those some row of the file has no number for.

    Raises:
        SampleError: if the file is no ``.csv`` or JSON lines, or a row of it cannot be measured.
    """
    if path.suffix.casefold() not in (".csv", ".jsonl"):
        raise SampleError(f"{path} ends in '{path.suffix}': columns are written into a .csv or .jsonl file in place")
    missing: set[str] = set()
    for where, row in read_rows(path):
        published_text(row, where)
        missing |= {each.name for each in columns if overwrite or row.get(each.name) in (None, "")}
    return [each for each in columns if each.name in missing]


def write_columns(path: Path, values: Mapping[str, Sequence[float]]) -> None:
    """Puts columns into a file in place: one number per row and column, in the file's order."""
    rows = ({**row, **{name: each[place] for name, each in values.items()}} for place, (_, row) in _rows(path))
    write_rows(path, rows)


def _rows(path: Path) -> Iterable[tuple[int, tuple[str, dict[str, Any]]]]:
    return enumerate(read_rows(path))


@dataclass(frozen=True)
class Arguments:
    """What the published command takes, under its own names."""

    file_path: Path
    vector_path_list: tuple[Path, ...]
    layer_list: tuple[int, ...]
    projection_type: Type
    model_name: str
    overwrite: bool

    @property
    def columns(self) -> dict[Column, tuple[Path, int]]:
        """Every vector at every layer, and the column it gets.

        Raises:
            StudyError: if two would get the same, because their files' stems are the same.
        """
        found: dict[Column, tuple[Path, int]] = {}
        for vector in self.vector_path_list:
            for layer in self.layer_list:
                column = Column.of(self.model_name, vector, self.projection_type, layer)
                if column in found:
                    raise StudyError(
                        f"{found[column][0]} and {vector} would share the column {column.name}: rename one"
                    )
                found[column] = (vector, layer)
        return found


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are ours: one line, no exit."""

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message}: give --file_path, --vector_path_list, --layer_list and --model_name")


def published_arguments(given: Sequence[str]) -> Arguments:
    """The published command's arguments; as there, a name may be shortened (``--vector_path``, ``--layer``).

    Example:
        >>> given = "--file_path a.jsonl --vector_path e.pt --layer 20 --model_name Qwen/Q --projection_type proj"
        >>> published_arguments(given.split()).layer_list
        (20,)
    """
    parser = _Parser(add_help=False)
    parser.add_argument("--file_path", required=True, type=Path)
    parser.add_argument("--vector_path_list", required=True, nargs="+", type=Path)
    parser.add_argument("--layer_list", required=True, nargs="+")
    parser.add_argument("--projection_type", default="proj")
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--overwrite", action="store_true")
    found = parser.parse_args(list(given))
    if found.projection_type not in TYPES:
        raise StudyError(
            f"--projection_type '{found.projection_type}' is none; {nearest(found.projection_type, TYPES)}"
        )
    bad = [each for each in found.layer_list if not each.isdigit()]
    if bad:
        raise LayerError(f"--layer_list '{bad[0]}' is no layer: give whole numbers from 0")
    layers = tuple(int(each) for each in found.layer_list)
    return Arguments(
        found.file_path, tuple(found.vector_path_list), layers, found.projection_type, found.model_name, found.overwrite
    )


def project_in_place(arguments: Arguments, engine: Engine, *, own: Sampling = OWN) -> list[str]:
    """Writes the columns that a file lacks (or all, if they are to be written anew), and names them.

    Raises:
        SampleError, LayerError, VectorError: before anything is read by the model.
    """
    from personascope.interop.tensors import load_any

    wanted = arguments.columns
    gauges: dict[Column, Gauge] = {}
    for column, (path, layer) in wanted.items():
        check_layer(layer, engine.last_layer, engine.checkpoint.label)
        gauges[column] = Gauge.of(load_any(path, engine.checkpoint), layer)
    missing = columns_missing(arguments.file_path, list(wanted), overwrite=arguments.overwrite)
    if not missing:
        return []
    values: dict[str, list[float]] = {each.name: [] for each in missing}
    for some in _chunks(arguments.file_path, engine, own):
        measured = _measured(engine, some, [gauges[each] for each in missing], arguments.projection_type)
        for place, each in enumerate(missing):
            values[each.name] += measured[:, place].tolist()
    write_columns(arguments.file_path, values)
    return list(values)


def _chunks(path: Path, engine: Engine, own: Sampling) -> Iterator[list[Response]]:
    """The rows of a file as responses of the model, a chunk at a time."""
    rows = read_rows(path)
    while some := list(islice(rows, CHUNK)):
        found = []
        for where, row in some:
            text = published_text(row, where)
            asked = text.prompt if text.messages is None else _rendered(engine, text.messages)
            found.append(Response(Request(asked, own), None, None, text.answer, "unknown", source=where))
        yield found


def _rendered(engine: Engine, messages: tuple[Message, ...]) -> str:
    """The prompt before the last answer, with every turn before it."""
    ((*_, last),) = (Sample((*messages, Message("assistant", ""))).exchanges,)
    return engine.render(last[0])


def _measured(engine: Engine, responses: Sequence[Response], gauges: Sequence[Gauge], kind: Type) -> np.ndarray:
    """``[row column]``; NaN for an empty answer."""
    encoded = engine.encode(responses)
    if kind == "cos_sim":
        return _cosines(engine, encoded, gauges)
    probes = [gauge.probe for gauge in gauges]
    tokens = engine.project(encoded, probes)
    last: np.ndarray = np.array([each[said.spoken[1] - 1] for each, said in zip(tokens, encoded, strict=True)])
    if kind == "prompt_last_proj":
        return last
    means = _means(tokens, encoded)
    if kind == "proj":
        return means
    less = last
    if kind == "proj_diff":
        said = engine.generate([each.request for each in encoded])
        less = _means(engine.project(said, probes), said)
    difference: np.ndarray = means - less
    return difference


def _means(tokens: Sequence[np.ndarray], responses: Sequence[Response]) -> np.ndarray:
    """The mean over the tokens of each response."""
    rows = []
    for each, said in zip(tokens, responses, strict=True):
        spoken = each[said.spoken[1] :]
        rows.append(spoken.mean(axis=0, dtype=np.float64) if len(spoken) else np.full(each.shape[1], math.nan))
    return np.array(rows)


def _cosines(engine: Engine, responses: Sequence[Response], gauges: Sequence[Gauge]) -> np.ndarray:
    """The cosine of each response's mean with each vector."""
    means = engine.read(responses).response.astype(np.float64)
    columns = []
    for gauge in gauges:
        at_layer = means[:, gauge.probe.layer]
        columns.append(at_layer @ gauge.probe.direction.astype(np.float64) / np.linalg.norm(at_layer, axis=1))
    return np.stack(columns, axis=1)
