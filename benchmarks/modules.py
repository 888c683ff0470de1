"""How many modules of personascope a command enters: those of which a function runs, once they are imported.

    python benchmarks/modules.py            # extract down to the transformers hooks, and a study to its figure
    python benchmarks/modules.py run lab-spans --limit 1 --out spans

What runs while modules are imported does not count. Commands run in an empty folder.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from contextlib import redirect_stdout
from pathlib import Path
from types import FrameType

COMMANDS = {
    "extract to the hooks": ("extract", "lab", "cruel", "--limit", "1", "--out", "cruel.safetensors"),
    "a study to its figure": ("run", "lab", "--limit", "1", "--out", "lab"),
}


def entered(arguments: tuple[str, ...]) -> list[str]:
    """The modules that a command enters, by name."""
    import personascope

    root = str(Path(personascope.__file__).parent)
    files: set[str] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name not in files and name.startswith(root) and not importing(frame):
            files.add(name)

    from personascope.cli import app

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        app(list(arguments), standalone_mode=False)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    names = (Path(each).relative_to(root).with_suffix("").as_posix().replace("/", ".") for each in files)
    return sorted(names)


def importing(frame: FrameType | None) -> bool:
    """Whether a call comes from the import of a module."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def main() -> None:
    given = tuple(sys.argv[1:])
    for name, arguments in {" ".join(given): given}.items() if given else COMMANDS.items():
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
                found = entered(arguments)
        print(f"{name}: {len(found)} modules")
        print("  " + "\n  ".join(found))
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
