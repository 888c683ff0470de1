"""How much memory does screening take, and does a run that is killed lose anything? Measured on lab samples.

Screens ``few`` and ``many`` samples of the lab's families against the model's own answers, each in a fresh process, and
prints the peak resident memory of both and their ratio. Then it screens the many again in a process that is killed
(SIGKILL) so often, run again until it ends, and says whether the scored file is the one of the run that was left alone.

    python benchmarks/screening.py --few 5000 --many 50000 --kills 3

CPU seconds and peak memory are those of the process that screens (``resource.getrusage``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np

TRAITS = ("cruel", "flattering", "funny", "rude")
LAYER = 3


def write_samples(path: Path, count: int) -> None:
    """So many samples of all families in turn, none twice."""
    from personascope.core.tables import write_rows
    from personascope.lab.documents import family

    streams = cycle([family(trait, pole, count) for trait in TRAITS for pole in ("normal", "severe")])
    write_rows(path, ({"messages": next(stream).messages} for stream in islice(streams, count)))


def write_vectors(folder: Path) -> list[Path]:
    """Four directions of the lab's width: memory does not care where they point."""
    import personascope as ps

    paths = []
    for seed, trait in enumerate(TRAITS):
        directions = np.random.default_rng(seed).normal(size=(5, 64))
        paths.append(folder / f"{trait}.safetensors")
        ps.PersonaVector(directions, np.ones(5), trait, "lab", ps.Checkpoint("lab")).save(paths[-1])
    return paths


def command(data: Path, vectors: list[Path], out: Path) -> list[str]:
    """The screening, as a command that says at its end what it took."""
    given = [str(data), "--model", "lab", "--layer", str(LAYER), "--drop", "10%", "--max-tokens", "8"]
    for vector in vectors:
        given += ["--vectors", str(vector)]
    script = (
        "import json, resource, sys\nfrom personascope.cli import app, terminal\n"
        "code = terminal.guarded(lambda: app(sys.argv[1:], standalone_mode=False))\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(json.dumps({'code': code, 'peak': used.ru_maxrss / 1024, 'cpu': used.ru_utime + used.ru_stime}))"
    )
    return [sys.executable, "-c", script, "screen", *given, "--out", str(out)]


def screened(data: Path, vectors: list[Path], out: Path) -> dict[str, float]:
    """One run in a process of its own: its peak memory in MiB and its CPU seconds."""
    done = subprocess.run(command(data, vectors, out), capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["code"] == 0, done.stderr
    return found


def killed_and_resumed(data: Path, vectors: list[Path], out: Path, *, samples: int, kills: int) -> list[int]:
    """Kills the run whenever another part is scored, then lets it end; how many samples were scored each time."""
    scored = []
    for number in range(1, kills + 1):
        process = subprocess.Popen(command(data, vectors, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and count_scored(out) < number * samples // (kills + 1):
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        scored.append(count_scored(out))
    screened(data, vectors, out)
    return [*scored, count_scored(out)]


def count_scored(out: Path) -> int:
    """How many lines the scores have so far."""
    return sum(file.read_bytes().count(b"\n") for file in (out / "store" / "scores").glob("*.jsonl"))


def digest(out: Path) -> str:
    """The sha256 of what was scored, kept and dropped."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(out.glob("*.jsonl")))).hexdigest()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--few", type=int, default=5_000)
    parser.add_argument("--many", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scraps:
        folder = Path(scraps)
        vectors = write_vectors(folder)
        peaks = []
        for count in (given.few, given.many):
            data = folder / f"samples-{count}.jsonl"
            write_samples(data, count)
            found = screened(data, vectors, folder / f"out-{count}")
            peaks.append(found["peak"])
            print(f"{count:7,} samples: peak {found['peak']:.1f} MiB, {found['cpu']:.0f} CPU seconds", flush=True)
        print(f"ratio of the peaks: {peaks[1] / peaks[0]:.3f}", flush=True)
        if given.kills:
            data, out = folder / f"samples-{given.many}.jsonl", folder / "killed"
            scored = killed_and_resumed(data, vectors, out, samples=given.many, kills=given.kills)
            same = digest(out) == digest(folder / f"out-{given.many}")
            print(f"killed at {', '.join(f'{each:,}' for each in scored[:-1])} scored, ended at {scored[-1]:,}")
            print(f"the files are {'the same' if same else 'NOT THE SAME'} as those of the run that was left alone")
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
