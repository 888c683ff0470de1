"""Published columns, computed and written into the file that was measured.

Owns: :func:`project_in_place`. The one law: what a column means is the published code's; where ours measures otherwise
(prompt and answer are tokenised apart, the last layer is read before the final norm), the page on screening says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from personascope.applications.screen.core import CHUNK, Gauge
from personascope.applications.screen.gauges import load_any
from personascope.applications.screen.published_columns import (
    Arguments,
    Column,
    Type,
    columns_missing,
    published_text,
    write_columns,
)
from personascope.core.errors import check_layer
from personascope.core.records import Request, Response, Sampling
from personascope.core.samples import Message, Sample
from personascope.engines import Engine
from personascope.interop.samples import read_rows

OWN = Sampling(max_tokens=1000, temperature=0.0, repetition_penalty=1.0, draws=1)
"""How the model's own answers are drawn for ``proj_diff``: greedy, as the published length."""


def project_in_place(arguments: Arguments, engine: Engine, *, own: Sampling = OWN) -> list[str]:
    """Writes the columns that a file lacks (or all, if they are to be written anew), and names them.

    Raises:
        SampleError, LayerError, VectorError: before anything is read by the model.
    """
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
