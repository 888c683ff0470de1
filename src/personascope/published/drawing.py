"""Every figure and table of a published study, drawn from its data.

Owns: :func:`draw`. The one law: beside every picture lies the frame it was drawn from, whose rows name the published
files and rows behind them; the same data give the same files; and a part that cannot be drawn is named.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from personascope.figures.style import save
from personascope.interop.published import Published
from personascope.published.pieces import Piece, pieces_of


def draw(study: Published, out: Path, *, made: Callable[[Path], None] = lambda path: None) -> list[str]:
    """Writes every figure (PNG and PDF), table (.tex) and the frame behind each (.csv), in a folder per model.

    A model that only others' vectors were steered on has no folder of its own.

    Args:
        out: Where to write; it is made.
        made: What is told of every file.

    Returns:
        What could not be drawn, or not from the answers, and why: one sentence each. Files that could not be read are
        among the study's problems.
    """
    notes: list[str] = []
    for model, (pieces, said) in pieces_of(study).items():
        notes += [f"{model}: {note}" for note in said]
        for piece in pieces:
            _write(piece, out / model, made)
    return notes


def _write(piece: Piece, folder: Path, made: Callable[[Path], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{name}.csv": frame.to_csv(index=False, lineterminator="\n") for name, frame in piece.frames.items()}
    if piece.table is not None:
        texts[f"{piece.name}.tex"] = piece.table()
    for name, text in texts.items():
        draft = folder / f".{name}.{os.getpid()}.draft"  # a file is there whole or not at all
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(folder / name)
        made(folder / name)
    if piece.figure is not None:
        pictures = [folder / f"{piece.name}.{kind}" for kind in ("png", "pdf")]
        save(piece.figure(), *pictures)
        for picture in pictures:
            made(picture)
