"""What fetching and reading the next checkpoint ahead saves, in wall seconds; the one benchmark of a clock on the wall.

`python benchmarks/ahead.py load` loads a random float32 checkpoint of about 1 GB with its files out of memory and read
ahead; `lineage` walks three checkpoints of 110 MB from a stand-in for the Hub that sends 20 MB a second, with some
seconds of answers at each, with and without fetching ahead; both unless one is named.
"""

from __future__ import annotations

import ctypes
import gc
import http.server
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import bench_model

import hub_stand_in

LARGE = {**bench_model.SIZES, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 19}
RATE = 20_000_000
PIECE = 200_000
LABELS = ("step3", "step2", "step1")
MODEL = "toys/line"
REPEATS = 5


def in_memory(path: Path) -> float:
    """The share of a file that is in memory; looking at it brings nothing there."""
    system = ctypes.CDLL(None, use_errno=True)
    system.mmap.restype = ctypes.c_void_p
    size, page = path.stat().st_size, mmap.PAGESIZE
    seen = (ctypes.c_ubyte * -(-size // page))()
    descriptor = os.open(path, os.O_RDONLY)
    arguments = (None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, descriptor, ctypes.c_long(0))
    address = ctypes.c_void_p(system.mmap(*arguments))
    assert system.mincore(address, ctypes.c_size_t(size), seen) == 0, os.strerror(ctypes.get_errno())
    system.munmap(address, ctypes.c_size_t(size))
    os.close(descriptor)
    return sum(each & 1 for each in seen) / len(seen)


def evict(path: Path) -> None:
    """Has the system let go of a file that it keeps in memory: nothing may be mapped to it any more."""
    gc.collect()
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def load() -> None:
    """One large checkpoint in a folder, opened and loaded: cold, and after its file was read ahead."""
    import torch

    from personascope.core.lineages import Checkpoint
    from personascope.engines import loading
    from personascope.engines.hub.download import default_weights, weight_files
    from personascope.engines.hub.prefetch import read_ahead
    from personascope.engines.transformers import TransformersEngine

    with tempfile.TemporaryDirectory() as root:
        folder = bench_model.build(Path(root) / "large", sizes=LARGE)
        (file,) = weight_files(folder)
        print(f"{file.stat().st_size / 1e9:.3f} GB of weights, on {os.statvfs(root).f_bsize}-byte blocks of {root}")
        engine = TransformersEngine(Checkpoint.at(folder))
        settings: dict[str, Any] = {"config": engine._config, "end_tokens": frozenset({0})}
        settings |= {"device": torch.device("cpu"), "dtype": torch.float32}

        def prepared(ahead: bool) -> tuple[float, float]:
            evict(file)
            start = time.monotonic()
            if ahead:
                read_ahead([file], stop=threading.Event())
            return time.monotonic() - start, in_memory(file)

        def loading_takes() -> float:
            start = time.monotonic()
            model, held = loading.load_weights(default_weights, engine.checkpoint, **settings)
            held.close()
            taken = time.monotonic() - start
            del model
            return taken

        def opening_takes() -> float:
            start = time.monotonic()
            TransformersEngine(Checkpoint.at(folder))
            return time.monotonic() - start

        loading_takes()
        for repeat in range(REPEATS):
            for ahead in (False, True):
                read, there = prepared(ahead)
                loaded = loading_takes()
                prepared(ahead)
                opened = opening_takes()
                name = "ahead" if ahead else "cold"
                print(f"{repeat} {name:5s} {there:4.0%} of it in memory; reading ahead {read:5.2f} s, ", end="")
                print(f"loading {loaded:5.2f} s, opening (which hashes it) {opened:5.2f} s")


class Slow(hub_stand_in.Hub):
    """The stand-in, sending weights no faster than RATE."""

    def send(self, status: int, headers: dict[str, str], content: bytes, body: bool, *_: object) -> None:
        """An answer, piece by piece."""
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        start = time.monotonic()
        for place in range(0, len(content) if body else 0, PIECE):
            time.sleep(max(0.0, start + place / RATE - time.monotonic()))
            self.wfile.write(content[place : place + PIECE])


def serve(root: Path) -> None:
    """The stand-in in this process, for ever; the port goes to standard output."""
    Slow.root = root
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    print(server.server_port, flush=True)
    server.serve_forever()


def walk(root: Path, ahead: str) -> None:
    """One lineage in this process: how long each checkpoint took, and all of it."""
    from personascope.core.lineages import Checkpoint
    from personascope.core.records import Request, Sampling
    from personascope.engines.hub.prefetch import CheckpointCache
    from personascope.engines.opening import Opener, open_engine

    cache = CheckpointCache()
    opener = Opener(
        lambda checkpoint: cache.attach(open_engine(checkpoint)) if ahead == "ahead" else open_engine(checkpoint)
    )
    order = [Checkpoint(MODEL, label) for label in LABELS]
    cache.prefetch_order(order)
    prompts = [each for trait in bench_model.traits(1) for each in bench_model.prompts(trait)]
    requests = [Request(text, Sampling(max_tokens=32, temperature=1, seed=0)) for text in prompts]
    import personascope.engines.transformers  # in neither  # noqa: F401

    start, taken, said = time.monotonic(), [], []
    for checkpoint in order:
        before = time.monotonic()
        engine = opener(checkpoint)
        engine.generate([Request("a", Sampling(max_tokens=1, seed=0))])
        ready = time.monotonic()
        said += [each.tokens for each in engine.generate(requests)]
        taken.append(f"{ready - before:.1f} + {time.monotonic() - ready:.1f}")
    total = time.monotonic() - start
    print(f"{ahead:5s} {total:5.1f} s; until it speaks + speaking, each: {', '.join(taken)}; {hash(tuple(said)):x}")


def lineage() -> None:
    """Three checkpoints, each walk in a process and a cache of its own."""
    with tempfile.TemporaryDirectory() as root:
        hub = Path(root) / "hub"
        for seed, label in enumerate(LABELS):
            folder = bench_model.build(hub / MODEL / label, seed=seed)
        size = (folder / "model.safetensors").stat().st_size
        print(f"{size / 1e6:.0f} MB a checkpoint, {size / RATE:.1f} s to fetch")
        command = [sys.executable, __file__]
        with subprocess.Popen([*command, "serve", str(hub)], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            settings = {"HF_ENDPOINT": f"http://127.0.0.1:{server.stdout.readline().strip()}", "PYTHONHASHSEED": "0"}
            settings |= {
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
            }
            for repeat in range(3):
                for name in ("plain", "ahead"):
                    home = {"HF_HOME": str(Path(root) / f"{name}{repeat}")}
                    subprocess.run([*command, "walk", root, name], env=os.environ | settings | home, check=True)
            server.kill()


def main() -> None:
    """The parts that are named."""
    match sys.argv[1:]:
        case ["serve", root]:
            serve(Path(root))
        case ["walk", root, ahead]:
            walk(Path(root), ahead)
        case names:
            for name in names or ("load", "lineage"):
                {"load": load, "lineage": lineage}[name]()


if __name__ == "__main__":
    main()
