"""How much memory of this machine is free: what sizes batches, and bounds what is read ahead."""

from __future__ import annotations

import os
from pathlib import Path


def free_on_host(root: Path = Path("/")) -> int:
    """Bytes of memory that no program uses; 8 GiB if the system does not report it.

    Memory that only caches files counts as free. A control group may limit this process to less.
    """
    try:
        facts = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
        free = int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return _unused_pages()
    group = root / "sys/fs/cgroup"
    try:
        limit = int((group / "memory.max").read_text())
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, min(free, limit - int(used["anon"])))
    except (OSError, KeyError, ValueError):  # no limit
        return free


def _unused_pages() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**33
