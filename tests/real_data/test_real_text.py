"""Real prompts and responses of the published study, read by the engine and by its naive twin."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import transformers

import toy_models
from naive_twin import NaiveTwin
from personascope.core.lineages import Checkpoint
from personascope.core.records import Edit, Readings, Request, Response, Sampling
from personascope.engines.hf.engine import TransformersEngine
from personascope.engines.hf.rendering import encode

transformers.utils.logging.disable_progress_bar()
PUBLISHED = Path(os.environ.get("PERSONASCOPE_PUBLISHED", Path(__file__).parents[3] / "shared" / "published"))
EXTRACT = PUBLISHED / "data" / "model_responses" / "extract"
NAMES = ("response", "prompt", "last_prompt", "norms")

# Measured: 1e-6 to 2.2e-6, as large as eager and fused attention differ in float32.
TOLERANCE = 5e-6

ODD = [
    ("line\nbreaks\r\n\n", "and\n\n\ttabs\n"),
    ("emoji 🙂🧑‍🚀 in a prompt", "and 🇫🇷 in an answer 🙂"),
    ("control \x00\x07\x1b[0m characters", "\x00\x1f\x7f"),
    ("lone \ud83d surrogates \udc00", "\udfff and \ud800"),
    ("A long answer, please.", "It goes on and on. " * 105 + "Stop."),
    ("x", "y"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OLMo-3's architecture with a sliding and a full block; each byte is a token."""
    layers = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 128}
    return toy_models.build(tmp_path_factory.mktemp("olmo3"), "Olmo3", **layers)


@pytest.fixture(scope="module")
def engine(folder: Path) -> TransformersEngine:
    return TransformersEngine(Checkpoint.at(folder))


def spoken(pairs: list[tuple[str, str]], *edits: Edit) -> list[Response]:
    """Texts as responses: prompt and answer encoded apart, as an engine would have them."""
    tokens = encode(toy_models.byte_tokenizer(), [text for pair in pairs for text in pair])
    return [
        Response(
            Request(prompt, Sampling(max_tokens=2000), edits=edits),
            tokens[prompt] + tokens[answer],
            len(tokens[prompt]),
            answer,
            "length",
        )
        for prompt, answer in pairs
    ]


def twins(folder: Path, responses: list[Response]) -> dict[str, np.ndarray]:
    """What the naive twin reads, one response at a time."""
    twin = NaiveTwin(folder)
    read = [twin.readings(response) for response in responses]
    return {name: np.stack([each[name] for each in read]) for name in NAMES}


def worst(readings: Readings, expected: dict[str, np.ndarray]) -> float:
    """The largest difference of any reading, relative to the largest number of its kind."""
    return max(
        float(np.abs(getattr(readings, name) - expected[name]).max() / np.abs(expected[name]).max()) for name in NAMES
    )


def _holds_prompts(path: Path) -> bool:
    with path.open(encoding="utf-8") as lines:
        return "prompt" in lines.readline().strip().split(",")


def published_pairs(pole: str, count: int) -> list[tuple[str, str]]:
    """Prompts and answers of one pole, spread over all files and, in each, over its questions and instructions."""
    files = [path for path in sorted(EXTRACT.glob(f"*/*/evil_*_{pole}_instruct.csv")) if _holds_prompts(path)]
    pairs: list[tuple[str, str]] = []
    for first, path in enumerate(files):
        with path.open(newline="", encoding="utf-8") as lines:
            rows = [(row["prompt"], row["answer"]) for row in csv.DictReader(lines) if row["prompt"] and row["answer"]]
        each = -(-count // len(files))
        stride = len(rows) // (each + 1)
        pairs += rows[11 * first % stride :: stride][:each]
    return pairs[:count]


@pytest.mark.skipif(not EXTRACT.is_dir(), reason=f"the published responses are not at {EXTRACT}")
def test_520_published_responses_read_as_their_naive_twins_do(engine: TransformersEngine, folder: Path) -> None:
    positive, negative = (spoken(published_pairs(pole, 260)) for pole in ("pos", "neg"))
    responses = positive + negative
    assert len(responses) == 520
    assert len({response.request.text for response in responses}) > 100
    readings, expected = engine.read(responses), twins(folder, responses)
    assert worst(readings, expected) < TOLERANCE
    for span in NAMES[:3]:
        ours = np.subtract(*(readings.span(span)[rows].mean(0) for rows in (slice(260), slice(260, 520))))  # type: ignore[arg-type]
        theirs = np.subtract(*(expected[span][rows].mean(0) for rows in (slice(260), slice(260, 520))))
        # At layer 0 the last prompt token is a bare embedding; where both poles end prompts alike it has no direction.
        apart = np.linalg.norm(theirs, axis=-1) > 1e-6
        assert apart[1:].all()
        ours, theirs = ours[apart], theirs[apart]
        cosines = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
        assert cosines.min() >= 0.99999, f"{span}: cosine per layer {cosines}"


@pytest.mark.parametrize("edited", [False, True])
def test_odd_texts_and_a_2000_token_answer_read_as_their_naive_twins_do(
    engine: TransformersEngine, folder: Path, edited: bool
) -> None:
    edits = (Edit(np.linspace(-1, 1, toy_models.HIDDEN), 1, "response"),) if edited else ()
    responses = spoken(ODD, *edits)
    assert max(response.length for response in responses) == 2000
    assert worst(engine.read(responses), twins(folder, responses)) < TOLERANCE


def test_odd_prompts_are_answered_alike_alone_and_together(engine: TransformersEngine, folder: Path) -> None:
    requests = [Request(text, Sampling(max_tokens=5), draw) for draw, pair in enumerate(ODD) for text in pair]
    together = engine.generate(requests)
    assert [each.tokens for each in together] == [engine.generate([each])[0].tokens for each in requests]
    twin = NaiveTwin(folder)
    assert not [fault for response in together for fault in twin.faults(response, {2})]
