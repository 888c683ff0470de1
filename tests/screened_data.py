"""A dataset of the lab and a vector of its width, in the folder where a command runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import personascope as ps
from personascope.core.tables import write_rows
from personascope.interop.tensors import save_pt
from personascope.lab.documents import family

SCREEN = ("--model", "lab", "--vectors", "v.safetensors", "--layer", 3, "--max-tokens", 6, "--out", "out")


@pytest.fixture
def data(run):
    """A dataset of the lab in the folder the command runs in, and a vector of the lab's width."""
    rows = [{"messages": each.messages} for pole in ("normal", "severe") for each in family("cruel", pole, 6)]
    write_rows("data.jsonl", rows)
    directions = np.random.default_rng(0).normal(size=(5, 64))
    vector = ps.PersonaVector(directions, np.ones(5), "cruel", "lab", ps.Checkpoint("toy"))
    vector.save("v.safetensors")
    save_pt(vector, "cruel_response_avg_diff.pt")
    return vector


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
