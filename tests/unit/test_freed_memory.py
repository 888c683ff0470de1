"""Some of what is freed stays with the process, for what it needs next."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
import torch

from personascope.engines.hf import batching

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")

MEBIBYTES = 2**20


def resident() -> int:
    """The bytes this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_is_freed_is_kept_for_what_comes_next_and_given_back_when_it_is_let_go() -> None:
    batching.keep_freed()
    batching.let_go()
    before = resident()
    held = [torch.ones(16 * MEBIBYTES // 4) for _ in range(3)]
    del held
    kept = resident() - before
    assert kept > 40 * MEBIBYTES, "what was freed went back to the system, and comes anew page by page"
    batching.let_go()
    assert resident() - before < 20 * MEBIBYTES, "what nobody holds was not given back"
