"""Answers that begin with the end of their own prompt.

Owns: :func:`find_leaks`. The one law: an answer counts as leaked if it begins with six or more characters of its
prompt's end as the model's tokenizer decodes it, special tokens dropped; nothing else is taken for a leak.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from personascope_published.audits.evidence import SIGNIFICANT, Evidence, contrast
from personascope_published.audits.findings import Finding, Kind, named, places, records, several, span
from personascope_published.audits.survey import tails_in

NAME = "prompt tails in answers"
COMPARED = Kind(
    NAME,
    "{leaked:,} of {rows:,} answers in {files} ({rates} % of a file) began with six or more characters of their "
    "own prompt, {shorter_tails:,} more with one to five{steered}: a decoder that cuts a left-padded prompt too "
    "early puts its last tokens before the answer",
    "without the leaked rows the mean effect of {redone} went from {mean_effect:.2f} to {mean_effect_after:.2f} "
    "(largest change {largest_change:.2f}), with {questions_after} of {questions} questions left; "
    "{significance_lost} lost p < 0.05 and {significance_won} gained it; {matched}; leaked answers were judged "
    "{coherence_gap:.1f} points less coherent{left}",
)
EXTRACTED = Kind(
    NAME,
    "{leaked:,} of {rows:,} extraction answers in {files} began with six or more characters of their own prompt, "
    "and {pairs_with_tails:,} of the {pairs_kept:,} pairs behind the vectors of {revisions} contained one",
    "without them {pairs_left:,} pairs would be left; the vectors cannot be built again without the model, "
    "because no activations per pair are published",
)
UNUSED = Kind(
    NAME,
    "{leaked:,} of {rows:,} answers in {files} that no results table uses began with six or more characters of "
    "their own prompt",
    "no published statistic rests on these files; leave the rows out before using them",
)

MANY = 0.05
"""Share of answers from which a leak is taken for a threat to the conclusion, whatever it changed."""
SAME = 0.01
"""Share of the largest change that rounding may leave when the same questions are compared."""

_RATES = [
    "file", "rows", "tails", "rate", "tail_characters", "question_tails", "question_tail_characters", "short_tails",
]  # fmt: skip


def find_leaks(evidence: Evidence) -> Iterator[Finding]:
    """Per results file whose answers begin with their prompts, for extraction, and for files no table uses."""
    leaky = evidence.survey[evidence.survey["tails"] > 0]
    leaky = leaky.assign(rate=leaky["tails"] / leaky["rows"])
    used: set[str] = set()
    for _, rows in evidence.results.groupby("file", sort=False):
        mine = rows[rows["baseline_file"].isin(leaky["file"]) | rows["steered_file"].isin(leaky["file"])]
        if not mine.empty:
            used |= {*mine["baseline_file"], *mine["steered_file"]}
            yield _compared(evidence, mine, leaky)
    extraction = leaky[leaky["kind"] == "extraction"]
    if not extraction.empty:
        yield _extracted(evidence, extraction)
    other = leaky[~leaky["file"].isin(used) & (leaky["kind"] != "extraction")]
    if not other.empty:
        numbers = {"leaked": other["tails"].sum(), "rows": other["rows"].sum()}
        words = {"files": several(len(other), "file")}
        yield UNUSED.found(other["file"], "number", numbers, words=words, details=records(other, _RATES))


def _compared(evidence: Evidence, rows: pd.DataFrame, leaky: pd.DataFrame) -> Finding:
    files = leaky[leaky["file"].isin({*rows["baseline_file"], *rows["steered_file"]})]
    steered = evidence.survey[evidence.survey["file"].isin(set(rows["steered_file"]))]
    redone = pd.DataFrame([_without(evidence, row) for row in records(rows)])
    done = redone[redone["effect_after"].notna()]
    before, after = done["p"] < SIGNIFICANT, done["p_after"] < SIGNIFICANT
    numbers = {
        "leaked": files["tails"].sum(),
        "rows": files["rows"].sum(),
        "shorter_tails": files["short_tails"].sum(),
        "steered_leaked": steered["tails"].sum(),
        "steered_rows": steered["rows"].sum(),
        "redone": len(done),
        "not_redone": len(redone) - len(done),
        "mean_effect": done["effect"].mean(),
        "mean_effect_after": done["effect_after"].mean(),
        "largest_change": (done["effect_after"] - done["effect"]).abs().max(),
        "largest_same_questions": (done["effect_after"] - done["effect_same_questions"]).abs().max(),
        "significance_lost": int((before & ~after).sum()),
        "significance_won": int((~before & after).sum()),
        "coherence_gap": (redone["clean_coherence"] - redone["leaked_coherence"]).mean(),
    }
    words = {"files": several(len(files), "file"), "rates": span(100 * files["rate"], ".0f"), **_words(numbers, done)}
    where = (*files["file"], *places(rows))
    details = (*records(files, _RATES), *records(redone))
    some = numbers["significance_lost"] + numbers["significance_won"] > 0
    severe = some or numbers["leaked"] >= MANY * numbers["rows"]
    return COMPARED.found(where, "conclusion" if severe else "number", numbers, words=words, details=details)


def _words(numbers: dict[str, Any], done: pd.DataFrame) -> dict[str, str]:
    """What the sentences say beside numbers: of the other arm, of the questions left, and of rows left out."""
    whole = numbers["largest_same_questions"] <= SAME * numbers["largest_change"]
    of_questions = (
        "the leak struck whole questions, so this is a change of questions and corrects nothing in the others"
    )
    of_answers = "on the same questions effects changed by up to {largest_same_questions:.2f}"
    steered = ", and {steered_leaked:,} of {steered_rows:,} steered answers did"
    left = "; {not_redone} rows could not be redone, because a file is absent or overwritten"
    return {
        "redone": several(len(done), "row"),
        "questions": span(done["questions"], ".0f"),
        "questions_after": span(done["questions_after"], ".0f"),
        "steered": steered.format(**numbers) if numbers["steered_rows"] else "",
        "matched": of_questions if whole else of_answers.format(**numbers),
        "left": left.format(**numbers) if numbers["not_redone"] else "",
    }


def _without(evidence: Evidence, row: dict[str, Any]) -> dict[str, Any]:
    """One row with its leaked answers left out, where its files are still those it was computed from."""
    unknown = dict.fromkeys(("effect_after", "p_after", "questions_after", "effect_same_questions"), np.nan)
    found = {name: row[name] for name in ("file", "row", "trait", "source", "model", "effect", "p", "questions")}
    plain, steered = evidence.sides(row)
    if plain is None:
        return found | unknown
    leaked = tails_in(plain) > 0
    for name, mine in (("leaked", plain[leaked]), ("clean", plain[~leaked])):
        found |= {f"{name}_score": mine["score"].mean(), f"{name}_coherence": mine["coherence"].mean()}
    same = abs(plain["score"].mean() - row["baseline_mean"]) <= 1e-9
    if steered is None or not same or abs(steered["score"].mean() - row["steered_mean"]) > 1e-9:
        return found | unknown
    clean, kept = plain[~leaked], steered[tails_in(steered) == 0]
    after = contrast(clean, kept)
    asked = set(clean["question_id"]) & set(kept["question_id"])
    matched = contrast(plain[plain["question_id"].isin(asked)], steered[steered["question_id"].isin(asked)])
    return found | {
        "effect_after": after.effect,
        "p_after": after.p,
        "questions_after": after.questions,
        "effect_same_questions": matched.effect,
    }


def _extracted(evidence: Evidence, files: pd.DataFrame) -> Finding:
    pairs = evidence.pairs
    pairs = pairs[pairs["positive"].isin(files["file"]) | pairs["negative"].isin(files["file"])]
    kept, touched = int(pairs["kept"].sum()), int(pairs["kept_with_tails"].sum())
    numbers = {
        "leaked": files["tails"].sum(),
        "rows": files["rows"].sum(),
        "pairs_kept": kept,
        "pairs_with_tails": touched,
        "pairs_left": kept - touched,
    }
    words = {"files": several(len(files), "file"), "revisions": named(pairs["revision"])}
    details = (*records(files, _RATES), *records(pairs))
    return EXTRACTED.found(files["file"], "conclusion" if touched else "number", numbers, words=words, details=details)
