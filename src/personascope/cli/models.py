"""The verbs over one model: extract and respond."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personascope.cli import outputs, terminal
from personascope.cli.options import (
    STORE,
    Adapter,
    Device,
    Draws,
    Dtype,
    EngineName,
    Form,
    Json,
    JudgeName,
    Limit,
    Model,
    NoJudge,
    Revision,
    Seed,
    StoreFolder,
    Temperature,
    Tokens,
    TraitName,
    engine_for,
    judge_for,
    load_chosen,
    sampling_for,
)
from personascope.core.tables import write_csv

if TYPE_CHECKING:
    from personascope.core.records import Answer
    from personascope.core.traits import Prompt


def extract(
    model: Model,
    trait: TraitName,
    out: Annotated[Path | None, typer.Option(help="The vector's file; by default TRAIT.safetensors.")] = None,
    pt: Annotated[bool, typer.Option("--pt", help="Also write the published [layers+1, hidden] tensor.")] = False,
    form: Form = None,
    revision: Revision = None,
    adapter: Adapter = None,
    on: EngineName = "transformers",
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
    from personascope.core.vectors import NoVector
    from personascope.tracing.extraction import Method
    from personascope.tracing.extraction import extract as extract_vector

    chosen = load_chosen(trait, model, form, limit)
    path = outputs.check_vector_file(out or Path(f"{chosen.name}.safetensors"))
    tensor = outputs.check_file(path.with_suffix(".pt")) if pt else None
    sampling = sampling_for(model, draws=draws, max_tokens=max_tokens, temperature=temperature, seed=seed)
    instructed, plain = 2 * len(chosen.instructed("positive")), len(chosen.questions("evaluation"))
    with terminal.progress(draws * (plain + instructed * (1 if no_judge else 3))) as bar:
        scoring = None if no_judge else judge_for(judge, model, store, bar, engine=on, device=device, dtype=dtype)
        how = {"revision": revision, "adapter": adapter, "device": device, "dtype": dtype}
        engine = engine_for(model, store, bar, engine=on, **how)
        found = extract_vector(engine, chosen, judge=scoring, method=Method(sampling, sampling))
    if isinstance(found, NoVector):
        terminal.print_json({"vector": None, "trait": found.trait, "counts": vars(found.counts)}) if as_json else (
            terminal.out.print(f"no vector of {found.trait}: {found.counts}", highlight=False)
        )
        raise typer.Exit(3)
    found.save(path)
    if tensor is not None:
        from personascope.interop.tensors import save_pt

        save_pt(found, tensor)
    if as_json:
        terminal.print_json({"vector": str(path), **found.passport, "lengths": found.lengths})
    else:
        terminal.out.print(f"{path}: {found.counts}; judge: {found.judge}", highlight=False)


def respond(
    model: Model,
    trait: TraitName,
    instruction: Annotated[str | None, typer.Option(help="positive or negative; by default none.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The CSV of answers; by default TRAIT[-INSTRUCTION]-answers.csv.")
    ] = None,
    form: Form = None,
    revision: Revision = None,
    adapter: Adapter = None,
    on: EngineName = "transformers",
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
    """Answer a trait's evaluation questions, plainly or under its instructions, and score the answers.

    Writes a CSV of the answers, and beside it one of the mean scores by question.
    """
    from personascope.core.errors import TraitError, nearest
    from personascope.core.traits import Prompt
    from personascope.tracing.generation import Arm, answer

    if instruction not in (None, "positive", "negative"):
        raise TraitError(
            f"instruction '{instruction}' is no pole; {nearest(str(instruction), ('positive', 'negative'))}"
        )
    chosen = load_chosen(trait, model, form, limit)
    path = outputs.check_file(out or Path(f"{chosen.name}{f'-{instruction}' if instruction else ''}-answers.csv"))
    by_question = outputs.check_file(path.with_name(f"{path.stem}-summary.csv"))
    instructions = [getattr(each, instruction) for each in chosen.contrasts] if instruction else [None]
    prompts = tuple(Prompt(question, each) for question in chosen.evaluation_questions for each in instructions)
    sampling = sampling_for(model, draws=draws, max_tokens=max_tokens, temperature=temperature, seed=seed)
    with terminal.progress(len(prompts) * draws * (1 if no_judge else 3)) as bar:
        scoring = None if no_judge else judge_for(judge, model, store, bar, engine=on, device=device, dtype=dtype)
        how = {"revision": revision, "adapter": adapter, "device": device, "dtype": dtype}
        engine = engine_for(model, store, bar, engine=on, **how)
        answers = answer({"all": Arm(engine, chosen, prompts, sampling)}, judge=scoring)["all"]
    write_csv(path, [_row(prompts[place // draws], each) for place, each in enumerate(answers)])
    write_csv(by_question, _rows_by_question(answers))
    summary = {
        "answers": str(path),
        "by_question": str(by_question),
        "count": len(answers),
        "mean_score": _mean([each.trait.score for each in answers]),
        "mean_coherence": _mean([each.coherence.score for each in answers]),
        "unscored": sum(each.trait.outcome != "scored" for each in answers),
    }
    if as_json:
        terminal.print_json(summary)
    else:
        terminal.show_rows("answers", ("", ""), [(name, str(value)) for name, value in summary.items()])


def _rows_by_question(answers: list[Answer]) -> list[dict[str, Any]]:
    """One row per question: mean score and coherence of its scored answers."""
    of: dict[str, list[Answer]] = {}
    for each in answers:
        of.setdefault(each.question, []).append(each)
    return [
        {
            "question": question,
            "answers": len(some),
            "scored": sum(each.trait.outcome == "scored" for each in some),
            "mean_score": _mean([each.trait.score for each in some]),
            "mean_coherence": _mean([each.coherence.score for each in some]),
        }
        for question, some in of.items()
    ]


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


def _mean(scores: list[float]) -> float:
    heard = [score for score in scores if score == score]
    return statistics.fmean(heard) if heard else float("nan")
