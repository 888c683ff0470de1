"""A trained model as a folder, with its passport.

Owns: :func:`check_target` and :func:`save_run`. The one law: the folder is there whole or not at all, and it says what
was trained, on what, and under which guard.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import transformers

from personascope.core.errors import StudyError

PASSPORT: Final = "passport.json"
_TOKENIZER: Final = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken"),
    *("chat_template.*", "generation_config.json"),
)


def check_target(out: Path) -> Path:
    """The folder, if a model can be written there.

    Raises:
        StudyError: if something is there already, or nothing can be written beside it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StudyError(f"{out} is there already and is not written over: give another folder, or move it away")
    above = next(each for each in out.absolute().parents if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise StudyError(f"{out} cannot be written: {above} is no folder you may write in; give another place")
    return out


def save_run(model: Any, out: Path, *, texts: Path, passport: dict[str, Any]) -> None:
    """Writes a model (or the adapter on it), the tokenizer files of the folder ``texts``, and the passport."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
    logging: Any = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        if hasattr(model, "peft_config"):
            model.save_pretrained(str(draft), save_embedding_layers=False)
            (draft / "README.md").unlink(missing_ok=True)  # a form that nobody filled in
        else:
            model.save_pretrained(str(draft))
            for file in sorted({each for pattern in _TOKENIZER for each in texts.glob(pattern)}):
                shutil.copy(file, draft / file.name)
        (draft / PASSPORT).write_text(json.dumps(passport, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if shown:
            logging.enable_progress_bar()
