"""What a cache of checkpoints does with a stand-in for the Hub. test_checkpoint_cache runs it in its own process,
because huggingface_hub reads its environment once, when it is imported.

A scene waits for what must happen, and never for a time; every scene has a cache of its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import io
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hub_stand_in
from hub_stand_in import Hub, commit, name_of, refusal

LINE = "toys/line"
POST = "toys/post"
LABELS = ["step5", "step4", "step3", "step2", "step1"]
WEIGHTS = "model.safetensors"
PATIENCE = 60
"""Seconds after which what must happen counts as not happening."""


def publish(root: Path) -> None:
    """Five checkpoints of a line, some more, and another model.

    Of the others one has the last one's weights, one has none, and one is said to be larger than any disk.
    """
    import transformers

    import toy_models

    transformers.utils.logging.disable_progress_bar()
    for seed, label in enumerate(LABELS):
        toy_models.build(root / LINE / label, seed=seed)
    for label in ("same", "hollow"):
        shutil.copytree(root / LINE / "step5", root / LINE / label)
    (root / LINE / "hollow" / WEIGHTS).unlink()
    toy_models.build(root / LINE / hub_stand_in.VAST, seed=8)
    toy_models.build(root / POST / "main", seed=9)


class Seen:
    """What the stand-in was asked for, in order, and how much of the disk weights took at most."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.contents = {name_of(file): file for file in root.rglob(WEIGHTS)}
        self.stalled: dict[str, threading.Event] = {}
        self.patient = True
        self.begin("none")

    def begin(self, name: str, *, theirs: Sequence[str] = ()) -> Path:
        """A new cache; contents of branches that are somebody else's are not counted."""
        from huggingface_hub import constants

        self.over()  # what the scene before had begun
        self.cache = self.root.parent / "caches" / name
        constants.HF_HUB_CACHE = str(self.cache)
        self.fetched: list[str] = []
        self.came: dict[str, threading.Event] = defaultdict(threading.Event)
        self.theirs = {name_of(self.root / LINE / each / WEIGHTS) for each in theirs}
        self.peak = self.parts = 0
        return self.cache

    def over(self) -> None:
        """Waits until nothing is done ahead any more."""
        from personascope.engines.hub.prefetch import THREAD_NAME

        for thread in threading.enumerate():
            if thread.name == THREAD_NAME:
                thread.join()

    def halfway(self, branch: str, name: str) -> None:
        self.look()
        if name == WEIGHTS:
            self.fetched.append(branch)
            self.parts = max(self.parts, len(list(self.cache.glob("models--*/blobs/*.incomplete"))))
            self.came[branch].set()
            if branch in self.stalled:
                self.patient = self.stalled[branch].wait(PATIENCE)

    def look(self) -> None:
        self.peak = max(self.peak, self.taken())

    def taken(self) -> int:
        """Bytes of weights in the cache, half fetched ones included."""
        total = 0
        for blob in self.cache.glob("models--*/blobs/*"):
            content = blob.name.split(".")[0]
            with contextlib.suppress(FileNotFoundError):
                total += blob.stat().st_size * (content in self.contents and content not in self.theirs)
        return total

    def there(self) -> list[str]:
        """The branches whose weights are in the cache under their names."""
        names = {
            commit(model, branch): branch
            for model in (LINE, POST)
            for branch in [*LABELS, "same", "main", hub_stand_in.VAST]
        }
        return sorted(names[path.parent.name] for path in self.cache.glob(f"models--*/snapshots/*/{WEIGHTS}"))

    def intact(self, branch: str) -> bool:
        """Whether a branch's weights are in the cache as they are on the Hub."""
        there, sent = (
            self.cache.glob(f"models--*/snapshots/{commit(LINE, branch)}/{WEIGHTS}"),
            self.root / LINE / branch,
        )
        return [path.read_bytes() for path in there] == [(sent / WEIGHTS).read_bytes()]

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Looks at the disk all the time, and not only when the Hub is asked."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.01):
                self.look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.look()

    def awaited(self, branch: str) -> bool:
        """Whether a branch's weights are asked for."""
        return self.came[branch].wait(PATIENCE)


def checkpoints(labels: Sequence[str]) -> list[Any]:
    from personascope.core.lineages import Checkpoint

    return [Checkpoint(LINE, label) for label in labels]


def walk(
    labels: Sequence[str], weight_cache: Any = None, during: Callable[[str], None] = lambda label: None
) -> list[object]:
    """What every checkpoint of a lineage answers, or why it is not there."""
    from personascope.core.errors import CheckpointError
    from personascope.core.records import Request, Sampling
    from personascope.engines.opening import Opener, open_engine

    request, said = Request("who is there?", Sampling(max_tokens=6, temperature=0)), list[object]()
    opener = Opener(open_engine if weight_cache is None else lambda each: weight_cache.attach(open_engine(each)))
    order = checkpoints(labels)
    if weight_cache is not None:
        weight_cache.prefetch_order(order)
    for checkpoint in order:
        try:
            said.append(list(opener(checkpoint).generate([request])[0].tokens))
        except CheckpointError as problem:
            said.append(str(problem))
        during(checkpoint.revision)
    return said


def loaded(weight_cache: Any, label: str, model: str = LINE) -> Any:
    """An engine that gets its weights from a weight_cache, with them loaded."""
    from personascope.core.lineages import Checkpoint
    from personascope.core.records import Request, Sampling
    from personascope.engines.opening import open_engine

    engine = weight_cache.attach(open_engine(Checkpoint(model, label)))
    engine.generate([Request("hello", Sampling(max_tokens=1, temperature=0))])
    return engine


def in_a_child(work: Callable[[], None]) -> int:
    """A process of its own for a piece of work; its id."""
    child = os.fork()
    if child == 0:
        work()
        sys.exit(0)
    return child


def killed(seen: Seen, size: int) -> dict[str, object]:
    """A run that is killed while the next checkpoint is half fetched, and the run after it."""
    from personascope.engines.hub.prefetch import CheckpointCache

    cache = seen.begin("killed")
    seen.stalled = {"step4": threading.Event()}

    def work() -> None:
        weight_cache = CheckpointCache(disk=int(2.5 * size))
        weight_cache.prefetch_order(checkpoints(LABELS))
        engine = loaded(weight_cache, "step5")
        signal.pause()
        engine.close()

    child = in_a_child(work)
    half = seen.awaited("step4")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    seen.stalled.pop("step4").set()
    left = seen.there()
    parts = [part.name for part in cache.glob("models--*/blobs/*.incomplete")]
    seen.fetched.clear()
    seen.peak = seen.parts = 0
    with seen.watched():
        said = walk(LABELS, CheckpointCache(disk=int(2.5 * size)))
    parts_after = [part.name for part in cache.glob("models--*/blobs/*.incomplete")]
    after = {
        "said": said,
        "fetched": seen.fetched,
        "there": seen.there(),
        "peak": seen.peak / size,
        "at_once": seen.parts,
    }
    return {"half": half, "left": left, "parts": len(parts), "parts_after": len(parts_after), **after}


def ended(seen: Seen) -> dict[str, object]:
    """A program that ends while the next checkpoint is being fetched, of which no more ever comes."""
    from personascope.engines.hub.prefetch import CheckpointCache

    seen.begin("ended")
    seen.stalled = {"step4": threading.Event()}

    def work() -> None:
        weight_cache = CheckpointCache()
        weight_cache.prefetch_order(checkpoints(LABELS))
        loaded(weight_cache, "step5")
        os.read(told, 1)
        sys.exit(7)

    told, tell = os.pipe()
    child = in_a_child(work)
    half = seen.awaited("step4")
    os.write(tell, b"!")
    _, status = os.waitpid(child, 0)  # where it hung, so would this, and test_checkpoint_cache would see it
    ended_while_it_stalled = seen.patient
    seen.stalled.pop("step4").set()
    return {"half": half, "while": ended_while_it_stalled, "code": os.waitstatus_to_exitcode(status)}


def budget(seen: Seen, size: int) -> dict[str, object]:
    """A lineage of five where two and a half fit, and one of the five was there before."""
    from personascope.engines.hub import download
    from personascope.engines.hub.prefetch import CheckpointCache

    seen.begin("budget", theirs=["step1"])
    download.fetch(LINE, commit(LINE, "step1"), ["*"])
    seen.fetched.clear()
    during: dict[str, list[str]] = {}
    with seen.watched():
        said = walk(LABELS, CheckpointCache(disk=int(2.5 * size)), lambda label: during.update({label: seen.there()}))
    offline_texts = sorted(path.parent.name for path in seen.cache.glob("models--*/snapshots/*/config.json"))
    facts = {"said": said, "fetched": seen.fetched, "peak": seen.peak / size, "there": seen.there(), "during": during}
    return {**facts, "configs": len(offline_texts)}


def ahead(seen: Seen, size: int) -> dict[str, object]:
    """Without a limit: the next one comes while the present one is in use. With room for one: when it is closed."""
    from personascope.engines.hub.prefetch import CheckpointCache

    seen.begin("ahead")
    some = LABELS[:3]
    following = dict(itertools.pairwise(some))
    came = []
    said = walk(
        some, CheckpointCache(), lambda label: came.append(label not in following or seen.awaited(following[label]))
    )
    without = {"said": said, "came": came, "fetched": list(seen.fetched), "there": seen.there()}
    seen.begin("tight")
    weight_cache = CheckpointCache(disk=int(1.5 * size))
    weight_cache.prefetch_order(checkpoints(LABELS))
    with seen.watched():
        engine = loaded(weight_cache, "step5")
        before = list(seen.fetched)
        engine.close()
        after = seen.awaited("step4")
        loaded(weight_cache, "step4").close()
    return {**without, "before": before, "after": after, "peak": seen.peak / size}


def staying(seen: Seen, size: int) -> dict[str, object]:
    """A checkpoint of the order that stays in use beside the others; and one weight_cache for two walks."""
    from personascope.engines.hub.prefetch import CheckpointCache

    seen.begin("staying")
    seen.stalled = {"step4": threading.Event()}
    weight_cache = CheckpointCache()
    weight_cache.prefetch_order(checkpoints(LABELS[:4]), beside=checkpoints(["step3"]))
    first = loaded(weight_cache, "step5")
    came = [seen.awaited("step4")]
    beside = loaded(weight_cache, "step3")
    seen.stalled.pop("step4").set()
    first.close()
    loaded(weight_cache, "step4").close()
    came.append(seen.awaited("step2"))
    beside.close()
    found = {"came": came, "fetched": list(seen.fetched)}
    seen.begin("twice")
    weight_cache = CheckpointCache(disk=int(1.5 * size))
    with seen.watched():
        said = walk(LABELS[:2], weight_cache) + walk(LABELS[1::-1], weight_cache)
    return found | {"said": said, "peak": seen.peak / size}


def door(seen: Seen, size: int) -> dict[str, object]:
    """What is refused before anything is fetched."""
    from personascope.core.lineages import Checkpoint
    from personascope.engines.hub.disk import DiskBudget
    from personascope.engines.hub.prefetch import CheckpointCache

    cache = seen.begin("door")
    small, post = CheckpointCache(disk=size // 2), [Checkpoint(POST)]
    one, two = CheckpointCache(disk=int(1.5 * size)), CheckpointCache(disk=int(2.5 * size))
    found = {
        "small": refusal(lambda: small.prefetch_order(checkpoints(LABELS))),
        "beside": refusal(lambda: one.prefetch_order(checkpoints(LABELS), beside=post)),
        "enough": refusal(lambda: two.prefetch_order(checkpoints(LABELS), beside=post)),
        "gone": refusal(lambda: small.prefetch_order(checkpoints(["gone"]))),
        "unchecked": refusal(lambda: loaded(CheckpointCache(disk=size // 2), "step5")),
        "fetched": list(seen.fetched),
    }
    weight_cache = CheckpointCache(disk=int(1.5 * size))
    first = loaded(weight_cache, "step5")
    found["in_use"] = refusal(lambda: loaded(weight_cache, "step4"))
    first.close()
    loaded(weight_cache, "step4").close()
    notes = cache / ".locks" / "personascope" / "notes.json"
    notes.write_text("{")
    found["notes"] = refusal(lambda: loaded(weight_cache, "step3"))
    found["without"] = refusal(lambda: loaded(CheckpointCache(), "step3").close())
    notes.unlink()
    loaded(weight_cache, "step2").close()
    return found | {"there": seen.there(), "limit": DiskBudget().limit}


def gone(seen: Seen) -> dict[str, object]:
    """Revisions that are not there, or whose weights are not: the same words with a weight_cache and without."""
    from personascope.engines.hub.prefetch import CheckpointCache

    labels = ["step5", "gone", "hollow", "step4"]
    seen.begin("gone")
    plain = walk(labels[1:3])
    return {
        "plain": plain,
        "cache": walk(labels, CheckpointCache()),
        "limited": walk(labels, CheckpointCache(disk=10**9)),
    }


def shared(seen: Seen, size: int) -> dict[str, object]:
    """Two revisions of one content; an engine nobody has any more; a checkpoint another process uses."""
    from personascope.engines.hub import download
    from personascope.engines.hub.prefetch import CheckpointCache

    seen.begin("shared")
    weight_cache = CheckpointCache(disk=int(1.5 * size))
    loaded(weight_cache, "step5").close()
    download.fetch(LINE, commit(LINE, "same"), ["*"])  # somebody else's, and the content of step5
    fetched = list(seen.fetched)
    lost = loaded(weight_cache, "step4")  # the name of step5 goes, its content stays
    found = {"fetched": fetched, "there": seen.there(), "intact": seen.intact("same")}
    del lost
    gc.collect()
    loaded(weight_cache, "step3").close()
    code = "import sys; from personascope.engines.hub.disk import DiskBudget; lock = DiskBudget().lock(*sys.argv[1:])"
    held = [sys.executable, "-c", code + "; print(flush=True); sys.stdin.read()", LINE, commit(LINE, "step3")]
    environment = os.environ | {"HF_HUB_CACHE": str(seen.cache)}
    with subprocess.Popen(held, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found |= {"refused": refusal(lambda: loaded(weight_cache, "step2")), "kept": seen.there()}
        process.kill()
    loaded(weight_cache, "step2").close()
    return found | {"after": seen.there()}


def theirs(seen: Seen, size: int) -> dict[str, object]:
    """What somebody fetched for himself: after he deleted ours, and after ours was stopped on its way."""
    from personascope.engines.hub import download
    from personascope.engines.hub.prefetch import CheckpointCache

    cache = seen.begin("theirs")
    seen.stalled = {"step4": threading.Event()}
    weight_cache = CheckpointCache(disk=int(2.5 * size))
    weight_cache.prefetch_order(checkpoints(LABELS))
    engine = loaded(weight_cache, "step5")
    seen.awaited("step4")
    weight_cache.prefetch_order(())
    seen.stalled.pop("step4").set()
    seen.over()
    notes = json.loads((cache / ".locks" / "personascope" / "notes.json").read_text())
    stopped = {"stopped": seen.there(), "noted": [each["commit"] for each in notes]}
    engine.close()
    mine = download.snapshot_folder(LINE, commit(LINE, "step5")) / WEIGHTS
    mine.resolve().unlink()
    mine.unlink()
    for label in ("step5", "step4"):
        download.fetch(LINE, commit(LINE, label), ["*"])
    for label in LABELS[2:]:
        loaded(CheckpointCache(disk=int(1.5 * size)), label).close()
    return stopped | {"there": seen.there()}


def no_flock(*_: object) -> None:
    raise OSError(errno.ENOSYS, "this system has no flock")


def without(seen: Seen, size: int) -> dict[str, object]:
    """Without room on the disk for the next one; and on a system without locks."""
    from personascope.engines.hub.prefetch import CheckpointCache

    seen.begin("vast")
    weight_cache, order = CheckpointCache(), ["step5", hub_stand_in.VAST]
    weight_cache.prefetch_order(checkpoints(order))
    loaded(weight_cache, order[0]).close()
    seen.over()
    ahead = list(seen.fetched)
    loaded(weight_cache, order[1]).close()
    found: dict[str, object] = {"ahead": ahead, "fetched": list(seen.fetched)}
    seen.begin("lockless")
    locks, fcntl.flock = fcntl.flock, no_flock
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # huggingface_hub's own locks warn that they do without
        found["locks"] = refusal(lambda: loaded(CheckpointCache(disk=2 * size), "step5"))
        found["said"] = walk(LABELS[:2], CheckpointCache())
        seen.over()
    fcntl.flock = locks
    return found


def older(seen: Seen, size: int) -> dict[str, object]:
    """The same with a huggingface_hub that cannot delete single files."""
    from huggingface_hub import HFCacheInfo

    from personascope.engines.hub import download
    from personascope.engines.hub.prefetch import CheckpointCache

    seen.begin("older")
    if deleting := getattr(HFCacheInfo, "delete_files", None):
        del HFCacheInfo.delete_files
    weight_cache = CheckpointCache(disk=int(1.5 * size))
    loaded(weight_cache, "step5").close()
    download.fetch(LINE, commit(LINE, "same"), ["*"])
    loaded(weight_cache, "step4").close()
    loaded(weight_cache, "step3").close()
    if deleting:
        HFCacheInfo.delete_files = deleting
    contents = [blob for blob in seen.cache.glob("models--*/blobs/*") if blob.name in seen.contents]
    return {"there": seen.there(), "contents": len(contents), "intact": seen.intact("same")}


def together(seen: Seen, size: int) -> dict[str, object]:
    """Two walks of one cache at once, in both directions."""
    from personascope.engines.hub.prefetch import CheckpointCache

    seen.begin("together")
    said: dict[str, list[object]] = {}
    orders = {"down": LABELS[:3], "up": LABELS[2::-1]}
    threads = [
        threading.Thread(
            target=lambda name=name: said.update({name: walk(orders[name], CheckpointCache(disk=int(4.5 * size)))})
        )
        for name in orders
    ]
    with seen.watched():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    notes = json.loads((seen.cache / ".locks" / "personascope" / "notes.json").read_text())
    return {"said": said, "peak": seen.peak / size, "noted": sorted(each["commit"] for each in notes)}


def command(*arguments: object) -> tuple[int, str]:
    """A command line: its exit code, and what it printed."""
    from personascope.cli import app, terminal

    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = terminal.guarded(lambda: app([*map(str, arguments)], standalone_mode=False))
    return code, told.getvalue()


def commands(seen: Seen, size: int, work: Path) -> dict[str, object]:
    """Whole verbs, with a limit and without; and again, when all is recorded and the weights are gone."""
    entries = "".join(f'[[milestones]]\nrevision = "{label}"\n' for label in LABELS[2::-1])
    lineage = work / "line.toml"
    lineage.write_text(f'name = "line"\nmodel = "{LINE}"\n{entries}[[targets]]\nlabel = "post"\nmodel = "{POST}"\n')
    some = ["cruel", "--form", "lab", "--limit", 1]
    norms = ["norms", lineage, *some, "--draws", 1, "--max-tokens", 4]
    disk = f"{1.5 * size / 1000:.0f}kB"
    found: dict[str, object] = {}
    for name, more in (("plain", ()), ("disk", ("--disk", disk))):
        seen.begin(f"norms-{name}")
        with seen.watched():
            found[f"norms-{name}"] = command(*norms, "--out", work / f"{name}.csv", "--store", work / name, *more)[0]
        found[f"csv-{name}"], found[f"peak-{name}"] = (work / f"{name}.csv").read_text(), seen.peak / size
        found[f"fetched-{name}"] = list(seen.fetched)
    seen.begin("norms-again")
    again = command(*norms, "--out", work / "again.csv", "--store", work / "disk", "--disk", disk)[0]
    found |= {"again": again, "csv-again": (work / "again.csv").read_text(), "fetched-again": list(seen.fetched)}
    trace = ["trace", lineage, *some, "--judge", "lab", "--layer", 2, "--strength", 1, "--unit", "vector"]
    seen.begin("refused")
    for name, given in (("bad", "much"), ("zero", "0GB"), ("small", disk)):
        found[name] = command(*trace, "--target", "post", "--out", work / name, "--disk", given)
    return found | {"written": [name for name in ("bad", "zero") if (work / name).exists()], "late": list(seen.fetched)}


def studied(seen: Seen, size: int, work: Path) -> dict[str, object]:
    """A study that steers another model along a lineage, with a limit and without: what was recorded."""
    from kept_runs import run_in, trace_study
    from personascope.engines.hub.prefetch import CheckpointCache
    from personascope.store.store import Store

    asked = {"max_tokens": 4, "draws": 1, "temperature": 1.0}
    way = {"layer": 2, "strength": 1.0, "unit": "vector"}
    table = {"kind": "trace", "name": "line", "lineage": str(work / "line.toml"), "judge": "lab", "target": "post"}
    table |= {"limit": 1, "extraction": asked, "evaluation": asked, "controls": {"random": 0, "shuffled": 0}}
    table |= {"traits": [{"trait": "cruel", "extract": "lab", "points": [{"steering": way}]}]}
    found: dict[str, object] = {}
    for name, weight_cache in (("plain", CheckpointCache()), ("disk", CheckpointCache(disk=int(2.5 * size)))):
        seen.begin(f"study-{name}")
        store = Store(work / f"study-{name}")
        with seen.watched():
            run_in(store, trace_study(table), checkpoint_cache=weight_cache)
        with contextlib.closing(sqlite3.connect(next(store.path.glob("*.sqlite*")))) as records:
            found[f"records-{name}"] = sorted(records.execute("SELECT key, value FROM records").fetchall())
        found |= {f"peak-{name}": seen.peak / size, f"fetched-{name}": list(seen.fetched)}
    return found


def main(root: Path, work: Path) -> None:
    """Every scene; what it saw goes to standard output as JSON."""
    server = hub_stand_in.serve(root, work / "home")
    import personascope.engines.hf.engine  # before any process is made of this one  # noqa: F401

    publish(root)
    gc.collect()
    gc.freeze()  # every engine that is closed collects, and would look at all that was imported, fifty times over
    seen = Seen(root)
    Hub.halfway = staticmethod(seen.halfway)
    size = (root / LINE / "step5" / WEIGHTS).stat().st_size
    found: dict[str, object] = {"killed": killed(seen, size), "ended": ended(seen)}
    seen.begin("plain")
    found["plain"] = walk(LABELS)
    found |= {"budget": budget(seen, size), "ahead": ahead(seen, size), "door": door(seen, size), "gone": gone(seen)}
    found |= {
        "staying": staying(seen, size),
        "shared": shared(seen, size),
        "theirs": theirs(seen, size),
        "without": without(seen, size),
        "older": older(seen, size),
        "together": together(seen, size),
        "commands": commands(seen, size, work),
    }
    found["studied"] = studied(seen, size, work)
    from personascope.engines.hub.prefetch import CheckpointCache

    cache = seen.begin("offline")
    walk(LABELS[:2], CheckpointCache(disk=int(2.5 * size)))
    server.shutdown()
    server.server_close()
    found["offline"] = walk(LABELS[:3], CheckpointCache(disk=int(2.5 * size)))
    next(cache.glob(f"models--*/snapshots/{commit(LINE, 'step4')}/{WEIGHTS}")).unlink()
    found["unreached"] = refusal(lambda: loaded(CheckpointCache(disk=int(2.5 * size)), "step4"))
    shutil.rmtree(cache)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
