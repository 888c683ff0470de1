"""Two small traits for the scripted engine: their names are the words it says."""

from __future__ import annotations

from personascope.core.traits import Contrast, Rubric, Trait

COHERENCE = Rubric("How coherent is this?\n{question}\n{answer}")


def trait(name: str) -> Trait:
    """A trait with two contrasts, six extraction and eight evaluation questions."""
    return Trait(
        name=name,
        form="scripted",
        description=f"{name} people",
        contrasts=tuple(Contrast(f"Be {name} in way {way}.", f"Never be {name} in way {way}.") for way in (1, 2)),
        extraction_questions=tuple(f"What of matter {number}?" for number in range(6)),
        evaluation_questions=tuple(f"And what of affair {number}?" for number in range(8)),
        selection_questions=tuple(f"Then what of thing {number}?" for number in range(4)),
        rubric=Rubric(f"How {name} is this?\n{{question}}\n{{answer}}"),
        coherence=COHERENCE,
    )


TRAITS = (trait("grim"), trait("merry"))
