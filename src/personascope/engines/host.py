"""What memory this machine has to give.

Owns: :func:`free_on_host`. The one law: what the system only keeps because nobody wanted the memory counts as free, and
what this process may not take does not.
"""

from __future__ import annotations

import os
from pathlib import Path


def free_on_host(root: Path = Path("/")) -> int:
    """The bytes of memory that can be had without taking any from a program; 8 GiB where the system does not say.

    Files that were read and are kept in memory give way. A control group may allow this process less than there is.
    """
    try:
        told = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
        free = int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return _unused_pages()
    group = root / "sys/fs/cgroup"
    try:
        limit = int((group / "memory.max").read_text())
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, min(free, limit - int(used["anon"])))
    except (OSError, KeyError, ValueError):  # no limit, or none that is written down there
        return free


def _unused_pages() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**33
