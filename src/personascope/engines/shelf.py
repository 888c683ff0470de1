"""A shelf of checkpoints: lends out the weights of one while the next are fetched, within what the disk has to give.

Owns: :class:`Shelf`. The one law: it changes when weights are there, and nothing else. What it does ahead is done
again, with its errors, when it is asked for; without a limit it deletes nothing.

The order in which checkpoints will be asked for is known where a lineage is; no engine and no science need know it.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from personascope.core.errors import CheckpointError, DiskError
from personascope.core.lineages import Checkpoint
from personascope.engines import Engine

if TYPE_CHECKING:
    from personascope.engines.ahead import Ahead
    from personascope.engines.hub import Listing
    from personascope.engines.lending import Weights
    from personascope.engines.room import Hold, Room


@runtime_checkable
class Shelved(Protocol):
    """An engine that asks for the folder of its weights."""

    weights: Weights


Opened = TypeVar("Opened", bound=Engine)


class Shelf:
    """Where engines get the folders of their weights, and how much weights from the Hub may take on the disk.

    ``disk`` is a number of bytes; ``None`` is no limit. Under a limit room is made before anything is fetched: of what
    was fetched under one before, and nobody uses, the least recently used is deleted. A checkpoint is used from when
    its weights begin to load until its engine is closed.

    Example:
        >>> shelf = Shelf()
        >>> shelf.follow([Checkpoint("allenai/Olmo-3-1025-7B", "stage1-step0")])
    """

    def __init__(self, *, disk: int | None = None) -> None:
        self.disk = disk
        self._order: tuple[Checkpoint, ...] = ()
        self._next: Ahead | None = None
        self._changing = threading.Lock()
        self._beside: tuple[Listing, ...] = ()
        self._staying = ExitStack()
        weakref.finalize(self, self._staying.close)

    def follow(self, order: Sequence[Checkpoint], *, beside: Sequence[Checkpoint] = ()) -> None:
        """Says which checkpoints will be asked for, in which order, and which stay in use beside each of them.

        One of the order that is also beside it comes when it is asked for, and stays. What was begun for an order
        before ends, so an empty one ends all.

        Raises:
            DiskError: if one of them, with those beside it, takes more than there may be.
        """
        with self._changing:
            if self._next is not None:
                self._next.cancel()
            staying = {(each, each.path) for each in beside}
            self._order = tuple(each for each in order if (each, each.path) not in staying)
            self._next = None
        self._staying.close()
        self._beside = ()
        if self.disk is not None:
            self._check(self._order, tuple(beside))

    def serve(self, engine: Opened) -> Opened:
        """The engine, which gets its weights here from now on."""
        if isinstance(engine, Shelved):
            engine.weights = self
        return engine

    @contextmanager
    def __call__(self, checkpoint: Checkpoint) -> Iterator[Path]:
        """The folder of a resolved checkpoint's weights, in use until the block ends; the next one is then on its way.

        Raises:
            CheckpointError: if they cannot be had.
            DiskError: if there is no room for them.
        """
        place = self._place(checkpoint)
        self._settle(place)
        with self._lent(checkpoint) as folder:
            self._begin(place)
            yield folder

    @contextmanager
    def _lent(self, checkpoint: Checkpoint) -> Iterator[Path]:
        from personascope.engines.hf import loading

        if checkpoint.path is not None:
            yield checkpoint.path
            return
        room, wanted = self._room(), None if self.disk is None else _weights_of(checkpoint)
        if wanted is None:
            with closing(room.held(checkpoint.model, checkpoint.revision)):
                # Where nobody says how large they are, and it matters, only those are had that are there.
                yield loading.weight_folder(checkpoint) if self.disk is None else _kept(checkpoint)
            return
        with closing(self._reserved(wanted)) as hold:
            with room.fetching(wanted, hold):
                folder = loading.weight_folder(checkpoint)
            yield folder

    def _room(self) -> Room:
        from personascope.engines.room import Room

        return Room(self.disk)

    def _reserved(self, wanted: Listing) -> Hold:
        """Room for weights that are needed now; for what is only fetched ahead, here or elsewhere, it waits."""
        from personascope.engines.room import WAIT, Lack

        collected = False
        while isinstance(found := self._room().reserve(wanted), Lack):
            if found.needed > found.limit or (collected and not found.coming):
                raise found.error()
            if not collected:
                gc.collect()  # an engine that nobody has any more uses nothing
                collected = True
                continue
            with self._changing:
                if self._next is not None:
                    self._next.cancel()
            time.sleep(WAIT)
        return found

    def _place(self, checkpoint: Checkpoint) -> int | None:
        """Where in the order a resolved checkpoint is; of several places the one that is expected."""
        places = [place for place, each in enumerate(self._order) if _same(each, checkpoint)]
        expected = None if self._next is None else self._next.place
        return expected if expected in places else min(places, default=None)

    def _settle(self, place: int | None) -> None:
        """Before weights are lent: what is being fetched ahead is waited for if it is these, and ends if others are."""
        with self._changing:
            ahead = self._next
            if ahead is None or place is None or place == ahead.place - 1:
                return
            coming = place == ahead.place and ahead.started
            if not coming:
                ahead.cancel()
        if coming:
            ahead.fetched.wait()

    def _begin(self, place: int | None) -> None:
        """Begins with the checkpoint after the one that is now in use."""
        from personascope.engines.ahead import Ahead

        if place is None or place + 1 >= len(self._order):
            return
        with self._changing:
            if self._next is not None and self._next.place == place + 1 and not self._next.stop.is_set():
                return
            self._next = Ahead(place + 1, self._order[place + 1], room=self._room(), beside=self._beside)
            self._next.start()

    def _check(self, order: Sequence[Checkpoint], beside: Sequence[Checkpoint]) -> None:
        from personascope.engines.room import said

        every = [each for each in dict.fromkeys((*order, *beside)) if each.path is None]
        with ThreadPoolExecutor(max_workers=8) as pool:
            listings = dict(zip(every, pool.map(_listing_at_the_door, every), strict=True))
        room, known = self._room(), {each: found for each, found in listings.items() if found is not None}
        counted = {
            each: {(found.model, file.blob): file.size for file in room.ours(found)} for each, found in known.items()
        }
        self._beside = tuple(known[each] for each in beside if each in known)
        for found in self._beside:  # what stays in use is not to be fetched twice
            self._staying.callback(room.held(found.model, found.commit).close)
        for each in order or beside:
            together = [other for other in dict.fromkeys((each, *beside)) if other in counted]
            size = sum({key: size for other in together for key, size in counted[other].items()}.values())
            if size > (self.disk or 0):
                labels = " and ".join(other.label for other in together)
                raise DiskError(
                    f"the weights of {labels} take {said(size)} on the disk at once, and --disk allows "
                    f"{said(self.disk or 0)}: allow more"
                )


def _same(asked: Checkpoint, resolved: Checkpoint) -> bool:
    """Whether a checkpoint of an order is the one that was resolved. Asks nobody: who resolved it has noted it."""
    if asked.path is not None or resolved.path is not None:
        return asked.path == resolved.path
    from personascope.engines.hub import noted_commit

    return asked.model == resolved.model and noted_commit(asked.model, asked.revision) == resolved.revision


def _kept(checkpoint: Checkpoint) -> Path:
    """The folder of weights that the cache has."""
    from personascope.engines import cached
    from personascope.engines.hf import loading

    folder = cached.snapshot_of(checkpoint.model, checkpoint.revision)
    if not loading.weight_files(folder):
        raise CheckpointError(
            f"the weights of {checkpoint.label} are not in the local cache, and the Hub cannot be reached: go online"
        )
    return folder


def _weights_of(checkpoint: Checkpoint) -> Listing | None:
    """The files of the weights; ``None`` where the Hub cannot be reached."""
    from personascope.engines import hub
    from personascope.engines.hf import loading

    listing = hub.list_files(checkpoint.model, checkpoint.revision)
    return None if listing is None else listing.only(loading.needed_among(listing.names)[0])


def _listing_at_the_door(checkpoint: Checkpoint) -> Listing | None:
    """The files of the weights; ``None`` where the Hub has no such checkpoint, which is told where it is opened."""
    try:
        return _weights_of(checkpoint)
    except CheckpointError:
        return None
