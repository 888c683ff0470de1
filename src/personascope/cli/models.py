"""The verbs over one model: extract, respond and steer."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import terminal
from personascope.cli.options import (
    STORE,
    Adapter,
    Device,
    Draws,
    Dtype,
    Form,
    Json,
    JudgeName,
    LayerNumber,
    Limit,
    Model,
    NoJudge,
    Revision,
    Seed,
    StoreFolder,
    Strength,
    Temperature,
    Tokens,
    TraitName,
    UnitName,
    WhereName,
)

if TYPE_CHECKING:
    from personascope.engines import Engine
    from personascope.judges import Judge
    from personascope.records import Answer, Sampling
    from personascope.traits import Prompt, Trait


def extract(
    model: Model,
    trait: TraitName,
    out: Annotated[Path | None, typer.Option(help="The vector's file; by default TRAIT.safetensors.")] = None,
    pt: Annotated[bool, typer.Option("--pt", help="Also write the published [layers+1, hidden] tensor.")] = False,
    form: Form = None,
    revision: Revision = None,
    adapter: Adapter = None,
    device: Device = None,
    dtype: Dtype = None,
    judge: JudgeName = None,
    no_judge: NoJudge = False,
    limit: Limit = None,
    draws: Draws = 4,
    max_tokens: Tokens = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    store: StoreFolder = STORE,
    as_json: Json = False,
) -> None:
    """Extract one trait's persona vector from a model, and write it with its passport."""
    from personascope.extract import Method
    from personascope.extract import extract as extract_vector
    from personascope.vectors import NoVector

    chosen = load_chosen(trait, model, form, limit)
    sampling = sampling_for(model, draws=draws, max_tokens=max_tokens, temperature=temperature, seed=seed)
    instructed, plain = 2 * len(chosen.instructed("positive")), len(chosen.questions("evaluation"))
    with terminal.progress(draws * (plain + instructed * (1 if no_judge else 3))) as bar:
        scoring = None if no_judge else judge_for(judge, model, store, bar)
        engine = engine_for(model, store, bar, revision=revision, adapter=adapter, device=device, dtype=dtype)
        found = extract_vector(engine, chosen, judge=scoring, method=Method(sampling, sampling))
    if isinstance(found, NoVector):
        terminal.print_json({"vector": None, "trait": found.trait, "counts": vars(found.counts)}) if as_json else (
            terminal.out.print(f"no vector of {found.trait}: {found.counts}", highlight=False)
        )
        raise typer.Exit(3)
    path = out or Path(f"{chosen.name}.safetensors")
    found.save(path)
    if pt:
        from personascope.interop.tensors import save_pt

        save_pt(found, path.with_suffix(".pt"))
    if as_json:
        terminal.print_json({"vector": str(path), **found.passport, "lengths": found.lengths})
    else:
        terminal.out.print(f"{path}: {found.counts}; judge: {found.judge}", highlight=False)


def respond(
    model: Model,
    trait: TraitName,
    instruction: Annotated[str | None, typer.Option(help="positive or negative; by default none.")] = None,
    out: Annotated[Path | None, typer.Option(help="The CSV of answers; by default TRAIT-answers.csv.")] = None,
    form: Form = None,
    revision: Revision = None,
    adapter: Adapter = None,
    device: Device = None,
    dtype: Dtype = None,
    judge: JudgeName = None,
    no_judge: NoJudge = False,
    limit: Limit = None,
    draws: Draws = 3,
    max_tokens: Tokens = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    store: StoreFolder = STORE,
    as_json: Json = False,
) -> None:
    """Answer a trait's evaluation questions, plainly or under its instructions, and score the answers."""
    from personascope.errors import TraitError, nearest
    from personascope.respond import Arm, answer
    from personascope.traits import Prompt

    if instruction not in (None, "positive", "negative"):
        raise TraitError(
            f"instruction '{instruction}' is no pole; {nearest(str(instruction), ('positive', 'negative'))}"
        )
    chosen = load_chosen(trait, model, form, limit)
    instructions = [getattr(each, instruction) for each in chosen.contrasts] if instruction else [None]
    prompts = tuple(Prompt(question, each) for question in chosen.evaluation_questions for each in instructions)
    sampling = sampling_for(model, draws=draws, max_tokens=max_tokens, temperature=temperature, seed=seed)
    with terminal.progress(len(prompts) * draws * (1 if no_judge else 3)) as bar:
        scoring = None if no_judge else judge_for(judge, model, store, bar)
        engine = engine_for(model, store, bar, revision=revision, adapter=adapter, device=device, dtype=dtype)
        answers = answer({"all": Arm(engine, chosen, prompts, sampling)}, judge=scoring)["all"]
    path = out or Path(f"{chosen.name}-answers.csv")
    rows = [_row(prompts[place // draws], each) for place, each in enumerate(answers)]
    _write_csv(path, rows)
    summary = {
        "answers": str(path),
        "count": len(rows),
        "mean_score": _mean([each.trait.score for each in answers]),
        "mean_coherence": _mean([each.coherence.score for each in answers]),
        "unscored": sum(each.trait.outcome != "scored" for each in answers),
    }
    if as_json:
        terminal.print_json(summary)
    else:
        terminal.show_rows("answers", ("", ""), [(name, str(value)) for name, value in summary.items()])


def steer(
    model: Model,
    prompts: Annotated[list[str], typer.Argument(help="What to ask, as the model is to see it.")],
    vector: Annotated[Path, typer.Option(help="A vector file.")],
    layer: LayerNumber,
    strength: Strength,
    unit: UnitName,
    where: WhereName = "response",
    instruction: Annotated[str | None, typer.Option(help="A text that precedes every prompt.")] = None,
    revision: Revision = None,
    adapter: Adapter = None,
    device: Device = None,
    dtype: Dtype = None,
    draws: Draws = 1,
    max_tokens: Tokens = None,
    temperature: Temperature = None,
    seed: Seed = 0,
    store: StoreFolder = STORE,
    as_json: Json = False,
) -> None:
    """Print plain and steered answers side by side."""
    from personascope.errors import StudyError
    from personascope.files import value_of
    from personascope.respond import respond as respond_to
    from personascope.traits import Prompt
    from personascope.vectors import Steering, load_vector

    way = {"layer": layer, "strength": strength, "unit": unit, "where": where}
    steering = value_of(way, Steering, source="personascope steer", error=StudyError)
    loaded = load_vector(vector)
    sampling = sampling_for(model, draws=draws, max_tokens=max_tokens, temperature=temperature, seed=seed)
    asked = [Prompt(text, instruction) for text in prompts]
    with terminal.progress(2 * len(asked) * draws) as bar:
        engine = engine_for(model, store, bar, revision=revision, adapter=adapter, device=device, dtype=dtype)
        edits = steering.along(loaded, residual_norms=_residual_norms(engine, loaded, steering, sampling))
        plain = respond_to(engine, asked, sampling=sampling)
        steered = respond_to(engine, asked, sampling=sampling, edits=edits)
    rows = [
        {"prompt": asked[place // draws].question, "plain": before.text, "steered": after.text}
        for place, (before, after) in enumerate(zip(plain, steered, strict=True))
    ]
    if as_json:
        terminal.print_json(rows)
    else:
        title = f"layer {layer}, strength {strength:g} x {unit}, where {where}"
        terminal.show_rows(title, ("prompt", "plain", "steered"), [tuple(row.values()) for row in rows])


def load_chosen(name: str, model: str, form: str | None, limit: int | None) -> Trait:
    """The trait a verb was given, in the form that fits the model unless one is named."""
    from personascope.traits import load_trait

    return load_trait(name, form=form or ("lab" if model == "lab" else "assistant")).limited(limit)


def sampling_for(model: str, *, draws: int, max_tokens: int | None, temperature: float | None, seed: int) -> Sampling:
    """The sampling a verb was given; what was not given is the published setting, or on the lab the lab study's."""
    from dataclasses import replace

    from personascope.records import Sampling
    from personascope.studies import load_study

    usual = load_study("lab").evaluation if model == "lab" else Sampling()
    return replace(
        usual,
        draws=draws,
        seed=seed,
        max_tokens=usual.max_tokens if max_tokens is None else max_tokens,
        temperature=usual.temperature if temperature is None else temperature,
    )


def engine_for(model: str, store: Path, notice: Any, **how: str | None) -> Engine:
    """The engine of a model, remembering in a store."""
    from personascope.engines.opening import open_engine
    from personascope.remembering import RememberingEngine
    from personascope.store import Store

    return RememberingEngine(open_engine(model, **how), Store(store), notice=notice)


def judge_for(name: str | None, model: str, store: Path, notice: Any) -> Judge:
    """The judge a verb was given, remembering in a store; the lab has its own."""
    from personascope.errors import JudgeError
    from personascope.judges.opening import open_judge
    from personascope.remembering import RememberingJudge
    from personascope.store import Store

    if name is None and model != "lab":
        raise JudgeError(f"no judge was named for {model}: give --judge [ENDPOINT:]MODEL, or --no-judge")
    return RememberingJudge(open_judge(name or "lab"), Store(store), notice=notice)


def _residual_norms(engine: Engine, vector: Any, steering: Any, sampling: Sampling) -> Any:
    """The steered model's residual norms: the vector's own where it is the same model, else measured now."""
    from personascope.extract import Method, plain_arm, residual_norms
    from personascope.respond import answer
    from personascope.traits import load_trait

    if steering.unit != "residual" or engine.checkpoint == vector.checkpoint:
        return None
    trait = load_trait(vector.trait, form=vector.form)
    plain = answer({"plain": plain_arm(engine, trait, Method(evaluation=sampling))}, judge=None)["plain"]
    return residual_norms(engine, [each.response for each in plain])


def _row(prompt: Prompt, answer: Answer) -> dict[str, Any]:
    return {
        "question": answer.question,
        "instruction": prompt.instruction or "",
        "draw": answer.draw,
        "answer": answer.response.text,
        "score": answer.trait.score,
        "outcome": answer.trait.outcome,
        "coherence": answer.coherence.score,
        "response_key": answer.response.key,
    }


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _mean(scores: list[float]) -> float:
    heard = [score for score in scores if score == score]
    return statistics.fmean(heard) if heard else float("nan")
