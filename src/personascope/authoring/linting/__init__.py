"""What is wrong with a trait, before any model is asked.

Owns: :func:`check_trait` and :func:`check_table`. The one law: an error is something that would make results mean
another thing or that no run would accept, and everything else is a warning; a trait without errors loads.

Sources: "Persona Vectors" A.1 for the counts, the fields of a rubric and the questions; tracing study §1.2 for the
forms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personascope.authoring.linting.forms import RULES_OF_FORM
from personascope.authoring.linting.parts import Finding, Parts
from personascope.authoring.linting.rules import RULES
from personascope.core.errors import TraitError
from personascope.core.files import read_toml
from personascope.core.traits import Trait, load_trait, trait_file


def check_trait(trait: Trait | str | Path, *, form: str = "assistant") -> list[Finding]:
    """What is wrong with a trait: of a file everything, even where it would not load; errors first.

    Raises:
        TraitError: if there is no such trait or file, or it is not TOML.

    Example:
        >>> check_trait("evil", form="character")
        []
    """
    if isinstance(trait, Trait):
        return check_table(dataclasses.asdict(trait))
    path = trait_file(trait, form=form)
    found = check_table(read_toml(path, error=TraitError))
    try:
        load_trait(path)
    except TraitError as problem:
        # What no rule found word for word, such as an unknown key.
        if not any(each.severity == "error" for each in found):
            found = [Finding("error", "loads", "file", str(problem).removeprefix(f"{path}: ")), *found]
    return found


def check_table(table: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a trait as a table, such as a file holds; errors first."""
    parts = Parts.of(table)
    found = [each for rule in (*RULES, *RULES_OF_FORM.get(parts.form, ())) for each in rule(parts)]
    return sorted(found, key=lambda each: each.severity != "error")
