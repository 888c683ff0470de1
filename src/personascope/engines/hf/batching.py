"""How much goes through a model at once.

Owns: :func:`in_padded_batches`, :func:`in_shared_batches`, :func:`halving`, :func:`keep_freed` and :func:`let_go`. The
one law: memory decides how rows are batched, never what they say, and no row is lost to a batch that did not fit.
"""

from __future__ import annotations

import ctypes
import gc
import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch

from personascope.core.errors import EngineError
from personascope.engines.hf.decoding import FEWEST_ROWS, Loaded, width_of
from personascope.engines.memory import free_on_host

MOST_ROWS: Final = 512
"""Rows of one batch unless said otherwise. Measured on one CPU core: 400 rows of a 27 M parameter model come within a
few hundredths of what its matrix products can do, and more rows bring no more."""

MOST_HEARD: Final = 4096
"""Responses of several calls whose readings, taken as they spoke, wait to be asked for. Those of one call all do."""

READ_AT_ONCE: Final = 4096
"""Tokens of a padded batch that is only read, on a CPU: more go through its memory and not its cache. Measured with 300
texts of some 90 tokens (27 M parameters, half of the layers): 9.1 CPU s all at once, 5.0 with these."""


@dataclass(frozen=True, eq=False)
class Size:
    """How long a row's text is to begin with, how many tokens follow, and what it is sorted by."""

    length: int
    more: int = 0
    tokens: tuple[int, ...] = ()


LARGEST_KEPT: Final = 2**25
MOST_KEPT: Final = 2 * LARGEST_KEPT
"""Bytes of the largest array that is kept when it is freed, and of what may lie unused at the end of the heap. Both are
what glibc itself comes to once an array of that size was freed, so nothing else in the process need fear them."""

_C_LIBRARY: Final = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Their numbers in glibc's malloc.h."""

Kind = Literal["padded", "shared", "logits"]
"""Rows of one width, rows that share what their prompts have in common, and padded ones with logits at every token."""

Room = Callable[[int, int], int]
"""How many rows of a length, to which so many tokens are added, go at once."""


def in_shared_batches(sizes: Mapping[int, Size], room: Room) -> Iterator[list[int]]:
    """Rows that go together: those that run longest first, and those that begin alike side by side."""
    order = sorted(sizes, key=lambda index: (-sizes[index].more, sizes[index].tokens))
    while order:
        count = room(max(sizes[index].length for index in order), sizes[order[0]].more)
        yield order[:count]
        order = order[count:]


def in_padded_batches(sizes: Mapping[int, Size], room: Room) -> Iterator[tuple[list[int], int]]:
    """Rows of one width together, those that run longest first; each with its width."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, size in sizes.items():
        groups[width_of(size.length)].append(index)
    for width, members in sorted(groups.items()):
        members.sort(key=lambda index: -sizes[index].more)
        count = room(width, sizes[members[0]].more)
        for start in range(0, len(members), count):
            yield members[start : start + count], width


def room_of(config: Any, loaded: Loaded, kind: Kind, *, rows: int | None) -> Room:
    """What memory has room for; or ``rows``, whatever their lengths."""
    measured = {"padded": _padded_rows, "shared": _shared_rows, "logits": _rows_with_logits}[kind]
    return lambda length, more: rows or measured(config, loaded, length, more)


def _rows_with_logits(config: Any, loaded: Loaded, width: int, more: int) -> int:
    """As padded rows, where every token has logits and each logit its logarithm."""
    return min(_rows(loaded, 12 * config.vocab_size * width), _padded_rows(config, loaded, width, more))


def _padded_rows(config: Any, loaded: Loaded, width: int, more: int) -> int:
    """How many rows of ``width`` tokens that say ``more`` fit a share of the free memory.

    Counted: their keys and values, mask, logits and widest activations.
    """
    wide = getattr(config, "intermediate_size", None) or 4 * loaded.hidden_size
    numbers = _cache(config, loaded) * (width + more) + (4 * wide + 8 * loaded.hidden_size) * width
    most = _rows(loaded, loaded.dtype.itemsize * numbers + 8 * width * width + 40 * config.vocab_size)
    alone = loaded.device.type == "cpu" and not more
    return min(most, max(FEWEST_ROWS, READ_AT_ONCE // width)) if alone else most


def _shared_rows(config: Any, loaded: Loaded, length: int, more: int) -> int:
    """How many rows of prompts of ``length`` tokens that say ``more`` fit, were there nothing the prompts share.

    Counted: keys and values in float32, logits, and the sums of a reading: two means, a sum in float64, and two more
    while prompts are summed up.
    """
    held = _cache(config, loaded) * 4 * (length + more)
    sums = 32 * (loaded.last_layer + 1) * loaded.hidden_size
    return _rows(loaded, held + sums + 40 * config.vocab_size)


def _cache(config: Any, loaded: Loaded) -> int:
    """The numbers that keys and values of one token are."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or loaded.hidden_size // config.num_attention_heads
    return int(2 * loaded.last_layer * heads * size)


def _rows(loaded: Loaded, each: int) -> int:
    free = torch.cuda.mem_get_info(loaded.device)[0] // 2 if loaded.device.type == "cuda" else free_on_host() // 4
    return max(1, min(MOST_ROWS, int(free // each)))


def halving(rows: Sequence[int], work: Callable[[list[int]], None]) -> None:
    """Does the work of these rows at once or, where memory does not hold them, of one half after the other.

    Raises:
        EngineError: if it does not hold a single row.
    """
    try:
        work(list(rows))
        return
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as problem:
        if not _is_of_memory(problem):
            raise
        if len(rows) == 1:
            raise EngineError(
                "not even one row of this length fits the device's memory: shorten the prompt, lower max_tokens, "
                "choose bfloat16, or device_map='auto' over several devices"
            ) from None
    let_go()  # only now, outside the handler, is nothing left that holds the batch
    middle = len(rows) // 2
    halving(rows[:middle], work)
    halving(rows[middle:], work)


def keep_freed() -> None:
    """Has the C library keep some of what a process frees for what it needs next, where it is glibc.

    Else activations go back to the system as they are freed and come anew, page by page: while 460 rows of a 27 M
    parameter model speak, 300,000 to 800,000 pages are fetched, which takes 0.4 to 1.2 of 7.0 to 8.3 CPU seconds; so
    131,000 are, and to keep 2 GiB saves none of these. What is larger, as keys and values of a batch, still goes back
    at once: kept, it left holes, and the peak of ten batches was 1.11 times that of one; so it is 1.00 to 1.06.
    """
    if _C_LIBRARY is not None:
        _C_LIBRARY.mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT)
        _C_LIBRARY.mallopt(_M_TRIM_THRESHOLD, MOST_KEPT)


def let_go() -> None:
    """Gives memory back that nothing holds any longer."""
    gc.collect()
    if _C_LIBRARY is not None:
        _C_LIBRARY.malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _is_of_memory(problem: Exception) -> bool:
    return isinstance(problem, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(problem)
