"""The slow proofs: each promise of the README and of docs/method.md, measured, one line each with its figure.

`make prove` runs all of them (under 90 minutes); `python benchmarks/prove.py killed second` runs those. `make test`
holds a small version of each. Exit code 1 if a promise is not kept.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "personascope.cli"]
Line = tuple[str, str, bool]  # promise, figure, kept


def demo(out: Path) -> tuple[float, float]:
    """Runs the demonstration; its wall and CPU seconds."""
    wall, before = time.monotonic(), os.times()
    subprocess.run([*COMMAND, "demo", "--out", str(out)], check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - wall, cpu


def science(out: Path) -> Iterator[Line]:
    """What the demonstration must show, from its own table."""
    wall, cpu = demo(out)
    yield "the demonstration takes under 3 minutes", f"{wall:.0f} s wall, {cpu:.0f} CPU s", wall < 180
    effects = pd.read_csv(out / "effects.csv", keep_default_na=True)
    chosen = effects[effects["chosen"] & (effects["direction"] == "extracted")]
    last = chosen[chosen["place"] == chosen["place"].max()]
    good = last[(last["effect"] >= 35) & (last["steered_coherence"] >= 75) & (last["p_two_sided"] < 0.001)]
    shown = ", ".join(f"{r.trait} {r.effect:+.1f} (coherence {r.steered_coherence:.0f})" for r in last.itertuples())
    yield "at the last checkpoint 3 of 4 traits gain 35 points, coherence 75, p < 0.001", shown, len(good) >= 3
    first = chosen[chosen["place"] == 0]
    counts = ", ".join(f"{row.trait} {row.pairs_kept}/{row.pairs_asked}" for row in first.itertuples())
    yield "the earliest checkpoint gives no vector, with counts", counts, bool(first["effect"].isna().all())
    random_arms = effects[effects["direction"].str.startswith("random") & effects["effect"].notna()]
    mean = random_arms["effect"].mean()
    least, most = random_arms["effect"].min(), random_arms["effect"].max()
    spread = f"{mean:+.2f} over {len(random_arms)} ({least:+.1f} to {most:+.1f})"
    yield "random directions of the same norm average within 6 points", spread, abs(mean) <= 6
    shuffled = effects[effects["direction"].str.startswith("shuffled") & effects["effect"].notna()]
    own = shuffled["applied_norm"].mean() / random_arms["applied_norm"].mean()
    yield (
        "label-shuffled vectors at their own norm",
        f"{shuffled['effect'].mean():+.2f} at {own:.2f} of the norm",
        own < 0.7,
    )
    yield from grown(out)


def grown(out: Path) -> Iterator[Line]:
    from personascope.analysis.effects import growth
    from personascope.analysis.frames import answer_rows
    from personascope.store.store import Store

    store = Store(out / "store")
    (kept,) = kept_studies(store)
    table = growth(answer_rows(kept.study.result(kept.context(store, out)).outcomes))
    shown = ", ".join(f"{r.trait} {r.growth:+.1f} [{r.low:+.1f}, {r.high:+.1f}]" for r in table.itertuples())
    yield (
        "every trait's effect grows, by more than its interval",
        shown,
        bool((table["low"] > 0).all() and len(table) == 4),
    )


def second(out: Path) -> Iterator[Line]:
    """A second run loads no model and changes nothing."""
    before = (out / "effects.csv").read_bytes()
    wall, cpu = demo(out)
    same = (out / "effects.csv").read_bytes() == before
    yield (
        "a second run takes under 15 s and gives the same table",
        f"{wall:.1f} s wall, {cpu:.1f} CPU s, same: {same}",
        same and wall < 15,
    )
    again = parameters_made("demo", "--out", str(out))
    one = parameters_made("respond", "lab", "cruel", "--limit", "1", "--no-judge", "--store", str(out / "other"))
    yield (
        "a second run loads no weights",
        f"{again} parameters made (a command that does load makes {one})",
        again == 0 < one,
    )


def parameters_made(*arguments: str) -> int:
    """How many parameters of models a command makes: torch tells of each."""
    code = (
        "import atexit, sys\n"
        "from torch.nn.modules.module import register_module_parameter_registration_hook as on_parameter\n"
        "from personascope.cli import main\n"
        "made = []\n"
        "on_parameter(lambda module, name, parameter: made.append(name))\n"
        "atexit.register(lambda: print(len(made), file=sys.stderr))\n"
        "main()"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=folder
        )
    return int(done.stderr.splitlines()[-1])


def killed(out: Path) -> Iterator[Line]:
    """Killed at ten random moments and started again, it gives the table of an uninterrupted run, to the byte."""
    if not (out / "effects.csv").exists():
        demo(out)
    generator = random.Random(int(os.environ.get("SEED", "0")))
    with tempfile.TemporaryDirectory() as folder:
        moments = []
        for _ in range(10):
            process = subprocess.Popen(
                [*COMMAND, "demo", "--out", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            moment = generator.uniform(2, 20)
            try:
                process.wait(moment)
                moments.append("done")
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                moments.append(f"{moment:.0f}")
        cut = sum(moment != "done" for moment in moments)
        demo(Path(folder))
        same = (Path(folder) / "effects.csv").read_bytes() == (out / "effects.csv").read_bytes()
    yield (
        "killed at ten random moments, the table is the same to the byte",
        f"after {', '.join(moments)} s; {cut} killed in flight",
        same and cut > 0,
    )


def shared(out: Path) -> Iterator[Line]:
    """Two processes on one store corrupt nothing."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            subprocess.Popen(
                [*COMMAND, "run", "lab", "--limit", "5", "--out", f"{folder}/both"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        codes = [(run.communicate(), run.returncode)[1] for run in runs]
        subprocess.run(
            [*COMMAND, "run", "lab", "--limit", "5", "--out", f"{folder}/alone"], check=True, capture_output=True
        )
        tables = [(Path(folder) / name / "effects.csv").read_bytes() for name in ("both", "alone")]
    yield (
        "two processes sharing a store corrupt nothing",
        f"exit codes {codes}",
        codes == [0, 0] and tables[0] == tables[1],
    )


def laws(out: Path) -> Iterator[Line]:
    """The engine and judge laws, and the reading of real published text."""
    for name, place in (("engine and judge laws", "tests/contract"), ("published text and data", "tests/real_data")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-o", "addopts=", place], cwd=ROOT, capture_output=True, text=True
        )
        last = done.stdout.strip().splitlines()[-1]
        yield name, re.sub(r"\s+", " ", last), done.returncode == 0


def imports(out: Path) -> Iterator[Line]:
    """What importing costs."""
    code = "import time; t = time.process_time(); import personascope; print(time.process_time() - t)"
    taken = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout) for _ in range(5)
    ]
    yield "import personascope takes under 0.5 s", f"{np.median(taken):.3f} CPU s", float(np.median(taken)) < 0.5


PROOFS: dict[str, Callable[[Path], Iterator[Line]]] = {
    "science": science,
    "second": second,
    "killed": killed,
    "shared": shared,
    "laws": laws,
    "imports": imports,
}


def main() -> int:
    """Runs the proofs named on the command line, or all."""
    kept_all = True
    out = Path(tempfile.mkdtemp(prefix="personascope-proof-"))
    for name in sys.argv[1:] or PROOFS:
        if name == "second" and not (out / "effects.csv").exists():
            demo(out)
        for promise, figure, kept in PROOFS[name](out):
            print(f"{'kept  ' if kept else 'BROKEN'}  {promise}: {figure}", flush=True)
            kept_all &= kept
    return 0 if kept_all else 1


if __name__ == "__main__":
    sys.exit(main())
