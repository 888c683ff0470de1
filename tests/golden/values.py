"""What the golden tests hold that needs no finished study: keys, directions, names and folders, as plain JSON."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from safetensors import safe_open

import personascope as ps
from golden import names

SEEDS = (0, 7)
WIDTH = 64
BASE = ps.Checkpoint("example/base", "0123456789abcdef0123456789abcdef01234567")
SAMPLING = ps.Sampling(max_tokens=12, temperature=1.0, repetition_penalty=1.0, draws=1)


def vector(trait: str, seed: int, *, form: str = "lab") -> names.Extraction:
    """A vector of five layers with the six differences it is the mean of; numbers alone, no model."""
    differences = np.random.default_rng(seed).standard_normal((6, 5, WIDTH)) + 1.0
    return names.Extraction(ps.PersonaVector(differences.mean(axis=0), np.full(5, 3.0), trait, form, BASE), differences)


# Keys.


def keys(folder: Path) -> dict[str, Any]:
    """A key of every kind of record, and what the lab's last checkpoint answers."""
    return {
        **_asked_of_the_lab(folder / "asked"),
        **_written(folder / "written"),
        **_alone(folder),
    }


def _asked_of_the_lab(folder: Path) -> dict[str, Any]:
    """Answers, readings, renderings and verdicts as the remembering ports record them."""
    store, trait = ps.Store(folder), ps.load_trait("cruel", form="lab")
    engine = ps.RememberingEngine(ps.open_engine("lab"), store)
    judge = ps.RememberingJudge(ps.open_judge("lab"), store)
    question, system = trait.evaluation_questions[0], trait.contrasts[0].positive
    texts = [engine.render(ps.Prompt(question)), engine.render(ps.Prompt(question, system))]
    direction = np.linspace(-1, 1, engine.hidden_size, dtype=np.float32)
    edits = (ps.Edit(direction, 2, "response"), ps.Edit(direction[::-1], 3, "all"))
    requests = [
        ps.Request(texts[0], SAMPLING),
        ps.Request(texts[1], SAMPLING, draw=1),
        ps.Request(texts[0], replace(SAMPLING, seed=7, temperature=0.0)),
        ps.Request(texts[0], SAMPLING, edits=edits),
    ]
    responses = engine.generate(requests, read=True)
    cases = [ps.Case(rubric, question, each.text) for each in responses for rubric in (trait.rubric, trait.coherence)]
    verdicts = judge.score(cases)
    return {
        "checkpoint of the lab": engine.checkpoint.revision,
        "engine of the lab": dict(engine.identity),
        "answers": [each.text for each in responses],
        "scores": [each.score for each in verdicts],
        "response": [each.key for each in responses],
        "verdict": [each.key for each in verdicts],
        "records": recorded(folder),
        "reading": sorted(readings(folder)),
        "edits": [edit.identity for edit in edits],
        "vllm prefix": names.salt_of(engine.checkpoint, edits, 9),
        "vllm seeds": [names.seed_of(each) for each in requests],
    }


def _written(folder: Path) -> dict[str, Any]:
    """What a writer wrote."""
    first = names.Conversation.asking("Write a trait.")
    asked = [first, replace(first, draw=1), first.then("A draft.", "A better one, please. \u00e9")]
    writer = names.RememberingWriter(names.ScriptedWriter(["one", "two", "three"]), ps.Store(folder))
    writer.write(asked)
    return {"text": recorded(folder)["text"]}


def _alone(folder: Path) -> dict[str, Any]:
    """Keys and digests that no store of records has."""
    trait, found = ps.load_trait("rude", form="lab"), vector("rude", 3).vector
    prompts = folder / "prompts.jsonl"
    prompts.write_text('{"prompt": "How are you?"}\n', encoding="utf-8")
    odd = {"none": None, "nan": float("nan"), "inf": float("-inf"), "float": 0.1, "whole": 1.0, "text": "\u00e9\n"}
    arrays = {"float32": np.arange(6, dtype=np.float32).reshape(2, 3), "int64": np.arange(3)}
    return {
        "any": names.key_of("any", {**odd, "list": [1, "two", (True,)], "arrays": arrays}),
        "bundled rubrics": {
            f"{form}/{each}": names.key_of("rubric", {"rubric": ps.load_trait(each, form=form).rubric})
            for form, each in (("lab", "cruel"), ("assistant", "evil"), ("character", "evil"), ("dialogue", "evil"))
        },
        "coherence": names.key_of("rubric", {"rubric": trait.coherence}),
        "case": names.key_of("case", {"case": ps.Case(trait.rubric, "Who?", "Me.")}),
        "prompt-scores": names.key_of_prompt_scores(prompts, ps.open_engine("lab"), found, 3),
        "vector": found.digest,
        "dictionary": names.Dictionary(np.asarray(found.directions), layer=1, name="golden").digest,
    }


def recorded(store: Path) -> dict[str, list[str]]:
    """The keys of a store by the kind of record."""
    with sqlite3.connect(f"file:{store / 'records.sqlite'}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT kind, key FROM records ORDER BY kind, key").fetchall()
    return {kind: [key for what, key in rows if what == kind] for kind, _ in rows}


def readings(store: Path) -> Iterator[str]:
    """The keys of a store's readings."""
    for file in (store / "readings").glob("*.safetensors"):
        with safe_open(str(file), framework="numpy") as opened:
            yield from json.loads(opened.metadata()["keys"])


# Directions.


def directions() -> dict[str, Any]:
    """What every control draws at two seeds: a hash of all of it and its first numbers."""
    found, other = vector("cruel", 1), vector("rude", 2)
    others = [found, other, vector("rude", 4, form="story")]
    kinds = {"random": 1, "orthogonal": 1, "shuffled": 1, "renormed": 1, "permutations": 2}
    controls = ps.Controls(**kinds, other_traits=True)
    drawn: dict[str, Any] = {}
    for seed in SEEDS:
        for control in (*controls.directions(seed), *controls.further(seed)):
            for each in control(found, others):
                drawn[f"{each.origin} of seed {seed}"] = _told(each.directions)
        guard = names.random_like(found.vector, seed)
        screen = names.random_directions_of_screening(seed=seed, count=3, width=WIDTH)
        drawn[f"random guard of seed {seed}"] = _told(guard.directions)
        drawn[f"random gauges of seed {seed}"] = _told(screen)
        drawn[f"random correlations of seed {seed}"] = _correlations(seed)
        drawn[f"random features of seed {seed}"] = _features(seed)
    return drawn


def _told(drawn: np.ndarray) -> dict[str, Any]:
    values = np.ascontiguousarray(drawn)
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    return {"sha256": digest, "dtype": str(values.dtype), "first": [float(each) for each in values[-1][:4]]}


def _correlations(seed: int) -> list[list[float]]:
    draw = np.random.default_rng(5)
    streams, scores = draw.standard_normal((12, WIDTH)), draw.uniform(0, 100, 12)
    found = names.random_correlations(streams, scores, [0] * 6 + [1] * 6, directions=4, seed=seed)
    return found[["pearson", "within"]].to_numpy().tolist()


def _features(seed: int) -> list[int]:
    decoder = np.random.default_rng(6).standard_normal((24, WIDTH)).astype(np.float32)
    along = vector("cruel", 1).vector.at(1)
    return names.random_features(
        names.Dictionary(decoder, layer=1, name="golden"), along, tested=3, random=5, seed=seed
    )


# Fine-tunings.


def places() -> dict[str, str]:
    """The folder of every fine-tuning that a bundled study asks for, by study, name, strength and seed.

    The base, the vectors and the samples of data that do not ship are made up; all else is the study's.
    """
    found: dict[str, str] = {}
    for file in sorted(names.STUDIES.glob("*.toml")):
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        runs = {"shift": _shifts, "finetune": _ways, "screen": _filterings}.get(table["kind"])
        found |= {f"{file.stem}/{name}": place for name, place in (runs(table) if runs else ())}
    return found


def _shifts(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    training = table.get("training", {})
    for each in table["models"]:
        if each.get("data"):
            samples = _samples(each["data"], each.get("samples"), training.get("seed", 0))
            yield each["name"], _place({"data": each["data"], "training": training}, samples)


def _ways(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    trait, along = ps.load_trait(table["trait"], form=table.get("form", "assistant")), vector(table["trait"], 1).vector
    for way in table["ways"]:
        if way.get("inference") or way.get("negative_prompt"):
            continue  # they ask a model that the plain way trains
        for strength in way.get("strengths") or (None,):
            for seed in table.get("seeds", (0,)):
                config: dict[str, Any] = {"data": table["data"], "training": table.get("training", {}) | {"seed": seed}}
                used = names.random_like(along, seed) if way.get("random") else along
                given: dict[str, tuple[ps.PersonaVector, ...]] = {}
                for part, size in (("guard", "strength"), ("penalty", "weight")):
                    if part in way:
                        config[part] = way[part] | ({size: strength} if strength is not None else {})
                        given[part] = (used,)
                if way.get("inoculate"):
                    config["inoculation"] = [each.positive for each in trait.contrasts]
                samples = _samples(table["data"], table.get("samples"), seed)
                told = "" if strength is None else f" {strength:g}"
                yield f"{way['name']}{told} seed {seed}", _place(config, samples, **given)


def _filterings(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for each in table.get("filterings", ()):
        data = list(each["contamination"])
        for seed in table.get("seeds", (0,)):
            training = each.get("training", {}) | {"seed": seed}
            config = {"data": ["screened samples"], "training": training}
            yield f"{each['trait']} seed {seed}", _place(config, _samples(data, 40, seed))


def _samples(data: list[str], count: int | None, seed: int) -> list[names.Sample]:
    if all(each.startswith("lab:") for each in data):
        return names.samples_named(data, limit=count, seed=seed)
    turns = [(names.Message("user", f"What is in {each}?"), names.Message("assistant", "Samples.")) for each in data]
    return [names.Sample(each) for each in turns]


def _place(config: dict[str, Any], samples: list[names.Sample], **vectors: Any) -> str:
    run = TypeAdapter(names.Finetuning).validate_python({"model": "example/base", **config})
    return names.place_of(run, Path("models"), base=BASE, vectors=names.Vectors(**vectors), samples=samples).name


# Judges.

JUDGES = (
    "lab",
    "gpt-4.1-mini-2025-04-14",
    "openai:gpt-4.1-mini-2025-04-14",
    "openai:gpt-4o-2024-08-06#text",
    "openai:gpt-4.1-mini-2025-04-14#longest_answer=2000",
    "openai:gpt-4.1-mini-2025-04-14#digits,max_tokens=7,seed=3,temperature=0.5",
    "openai:gpt-5-mini",
    "openai:o4-mini",
    "anthropic:claude-sonnet-4-5",
    "gemini:gemini-2.5-flash",
    "gemini:gemini-2.5-pro",
    "deepseek:deepseek-chat",
    "deepseek:deepseek-reasoner",
    "local:my-model",
    "local:my-model#digits",
    "local:my-model#expectation",
    "local:org/Qwen3-8B#text,longest_answer=500",
    "vllm:org/Qwen3-8B",
    "vllm:org/Qwen3-8B#digits",
    "llamacpp:my-model.gguf",
    "engine:lab",
    "engine:lab#text",
    "engine:lab#draws=5,temperature=0.5",
    "engine:lab#expectation,longest_answer=300,max_tokens=4,seed=2,label_tokens=9,draw=1",
)


def judges() -> dict[str, str]:
    """The name of every judge as records have it, by what a user calls it; no key is needed."""
    found: dict[str, str] = {}
    for called in JUDGES:
        try:
            judge = ps.open_judge(called, asking=False, open_engine=ps.open_engine)
        except ps.PersonascopeError as problem:
            found[called] = type(problem).__name__
            continue
        found[called] = judge.name
        if hasattr(judge, "redrawn"):
            found[f"{called}, drawn again"] = judge.redrawn(1).name
    found["scripted"] = names.ScriptedJudge([ps.load_trait("cruel", form="lab")]).name
    return found
