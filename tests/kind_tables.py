"""Small studies of each kind on the lab, as tables of a study file."""

from __future__ import annotations

from pathlib import Path

import tomlkit

SAMPLING = {"max_tokens": 16, "temperature": 1.0, "repetition_penalty": 1.0, "draws": 1}
ASKED = {
    "lineage": "lab",
    "judge": "lab",
    "milestones": ["step-02000"],
    "extraction": SAMPLING,
    "evaluation": SAMPLING,
    "limit": 3,
    "traits": [{"trait": "cruel", "extract": "lab"}],
}
GRID = {"layers": [1, 3], "strengths": [1.0, 2.0], "unit": "vector", "where": ["response", "all"]}
POINT = {"steering": {"layer": 3, "strength": 1.5, "unit": "vector", "where": "all"}}
MAPS = {"kind": "maps", "name": "maps", **ASKED, "selection": GRID}
SPANS = {"kind": "spans", "name": "spans", **ASKED, "layer": 3, "strengths": [3.0, 6.0]}
FACETS = {"kind": "facets", "name": "facets", **ASKED, "sets": ["lab/cruel"], "planted": 20}
TRACE = {"kind": "trace", "name": "trace", **ASKED, "traits": [ASKED["traits"][0] | {"points": [POINT]}]}
TABLES = {each["kind"]: each for each in (MAPS, SPANS, FACETS, TRACE)}


def write(folder: Path, name: str, table: dict) -> str:
    """A table as a study file of that name; gives back the file's name."""
    path = folder / f"{name}.toml"
    path.write_text(tomlkit.dumps(table))
    return path.name
