"""Projections as the second paper's code writes them: columns with long names, in the very file that was measured.

Owns: the names of its columns, its arguments, and writing in place. The one law: a file is replaced whole or stays as
it was; columns that are there are kept unless they are to be written anew.

Format (``eval/cal_projection.py``): one column per vector and layer, named ``{model}_{vector file's stem}_{type}_layer
{l}`` without spaces, ``model`` the last part of its name and the stem cut at its first dot; types ``proj`` (mean of the
response on the unit vector), ``prompt_last_proj`` (last prompt token) and ``cos_sim`` (cosine of the response mean).
Projection differences were left to its users; ours have types of their own, ``proj_diff`` and ``proj_diff_prompt``.
Input is JSON lines with ``messages``, the last of them the answer, or CSV with ``prompt``, already rendered, and
``answer``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, get_args

from personascope.core.errors import LayerError, SampleError, StudyError, nearest
from personascope.core.samples import Message
from personascope.core.tables import write_rows
from personascope.interop.samples import messages_of, read_rows

Type = Literal["proj", "prompt_last_proj", "cos_sim", "proj_diff", "proj_diff_prompt"]
TYPES: Final[tuple[str, ...]] = get_args(Type)


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
