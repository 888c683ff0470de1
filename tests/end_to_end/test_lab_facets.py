"""Facets on the lab: those that were planted are found in what the model says, and a finished study is annotated."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from personascope.studies.trace_study import study_of

import personascope as ps
from personascope.applications.facets.answers import recorded_answers
from personascope.applications.facets.core import SAME
from personascope.cli import app, terminal
from personascope.core.traits import Prompt
from personascope.lab.world import Domain, load_world
from personascope.store.store import Store
from personascope.studies.run import run_in

DOMAINS = load_world().domains
CHANCE = 1 / 3


def described(domain: Domain) -> Iterator[tuple[str, str]]:
    """Each facet with descriptions of somebody who always shows it, in openings that training never joined with it."""
    for facet, words in zip(domain.facets, domain.describing, strict=True):
        for word, beside in ((words[0], words[1]), (words[1], words[2])):
            (opening,) = load_world().openings_for(domain, "trait", word, held_out=True)
            yield facet, opening.format(how=f"always {word} and {beside}")


def planted(domain: Domain) -> pd.DataFrame:
    """What the last checkpoint makes of described characters in held-out situations, with the facet it was told."""
    trait = ps.load_trait(domain.name, form="lab")
    prompts = [
        (facet, Prompt(question, text)) for question in trait.evaluation_questions for facet, text in described(domain)
    ]
    sampling = ps.Sampling(max_tokens=32, temperature=1.0, repetition_penalty=1.0, draws=1)
    arm = ps.Arm(ps.open_engine("lab"), trait, tuple(prompt for _, prompt in prompts), sampling)
    answers = ps.answer({"all": arm}, judge=ps.open_judge("lab"))["all"]
    rows = [
        {"question": each.question, "answer": each.response.words, "score": each.trait.score,
         "coherence": each.coherence.score, "planted": facet}
        for (facet, _), each in zip(prompts, answers, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def recovered() -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """By trait: the agreement with what was planted over answers that show the trait, and the answers."""
    found = {}
    for name, domain in DOMAINS.items():
        rows = planted(domain)
        shown = rows[(rows["score"] >= 50) & (rows["coherence"] >= 50)].reset_index(drop=True)
        labelled = shown.assign(**{facet: shown["planted"] == facet for facet in domain.facets})
        table, _ = ps.facet_agreement(labelled, ps.load_facets(f"lab/{name}"), judge=ps.open_judge("lab"))
        found[name] = table.set_index("facet"), labelled
    return found


def test_planted_facets_are_recovered_from_generated_answers(recovered, capsys) -> None:
    same, items, unread = 0, 0, 0
    with capsys.disabled():
        for name, (table, rows) in recovered.items():
            whole = table.loc[SAME]
            same, items, unread = same + whole["both"], items + whole["items"], unread + whole["unread"]
            found = f"{whole['both']:.0f} of {whole['items']:.0f} planted facets found ({whole['agreement']:.1%}"
            print(
                f"\n{name}: {found}; chance {CHANCE:.1%}), {whole['unread']:.0f} unreadable, "
                f"kappa {whole['kappa']:.2f}, {len(rows)} of 120 answers show the trait",
                end="",
            )
        print(f"\nin all {same:.0f} of {items:.0f} ({same / items:.1%}; chance {CHANCE:.1%}), {unread:.0f} unreadable")
    for name, (table, _) in recovered.items():
        assert table.loc[SAME, "agreement"] >= 0.9, (
            f"{name}: {table.loc[SAME, 'agreement']:.1%} of planted facets found"
        )
        assert table.loc[SAME, "items"] >= 60, f"{name}: too few answers showed the trait to say anything"
    assert same / (items + unread) >= 0.85, "even if every unreadable answer were wrong"


def test_labels_that_have_nothing_to_do_with_the_answers_are_found_at_chance(recovered) -> None:
    dice, same, items = random.Random(0), 0, 0
    for name, (_, rows) in recovered.items():
        strange = dice.sample(rows["planted"].tolist(), len(rows))
        labelled = rows.assign(**{facet: [each == facet for each in strange] for facet in DOMAINS[name].facets})
        whole = ps.facet_agreement(labelled, ps.load_facets(f"lab/{name}"), judge=ps.open_judge("lab"))[0].iloc[-1]
        same, items = same + whole["both"], items + whole["items"]
        assert whole["chance"] == pytest.approx(CHANCE, abs=0.05)
    # Over some 350 answers the standard error of a third is 0.025: four of them.
    assert same / items == pytest.approx(CHANCE, abs=0.1)


# A finished study.

WAY = {"layer": 3, "strength": 1.5, "unit": "vector", "where": "all"}
SAMPLING = {"max_tokens": 32, "temperature": 1.0, "repetition_penalty": 1.0}
STUDY = {
    "kind": "trace",
    "name": "small",
    "lineage": "lab",
    "judge": "lab",
    "milestones": ["step-00040", "step-00640", "step-02000"],
    "limit": 4,
    "traits": [{"trait": name, "extract": "lab", "points": [{"steering": WAY}]} for name in ("cruel", "funny")],
    "extraction": {**SAMPLING, "draws": 1},
    "evaluation": {**SAMPLING, "draws": 6},
    "controls": {"random": 1},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a study's store, and what the study gave."""
    folder = tmp_path_factory.mktemp("study")
    return folder, run_in(Store(folder / "store"), study_of(STUDY, source="test"))


@pytest.fixture
def run(capsys, tmp_path, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = terminal.guarded(lambda: app(["facets", *map(str, arguments)], standalone_mode=False))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def digests(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def told(rows: pd.DataFrame) -> Counter:
    return Counter(
        rows[["milestone", "question", "draw", "answer", "score", "coherence"]].itertuples(index=False, name=None)
    )


@pytest.mark.parametrize("pole", ["plain", "steered"])
def test_the_answers_of_a_study_are_those_it_gave(study, pole: str) -> None:
    folder, result = study
    found = recorded_answers(Store(folder / "store"), trait="cruel", plain=pole == "plain")
    given = [
        (each.milestone.label, one.question, one.draw, one.response.words, one.trait.score, one.coherence.score)
        for each in result.outcomes
        if isinstance(each, ps.Effect) and each.subject.extract.name == "cruel" and each.vector.origin == "extracted"
        for one in getattr(each, pole)
    ]
    assert len(given) == 2 * 4 * 6, "the first checkpoint has no vector, and controls are not among the answers"
    assert told(found) == Counter(given)
    assert found["facet_set"].unique().tolist() == ["answers"]


def test_several_curves_of_a_store_keep_their_names(study) -> None:
    found = recorded_answers(Store(study[0] / "store"), name="moods")
    assert found["facet_set"].unique().tolist() == ["moods: cruel", "moods: funny"]


def test_a_store_is_annotated_without_being_changed_and_a_second_time_from_memory(study, run) -> None:
    folder, _ = study
    before = digests(folder)
    for _ in range(2):
        code, out, err = run(folder, "--set", "lab/cruel", "--judge", "lab", "--per-question", 3)
        assert code == 0, err
        assert digests(folder) == before, "the study's store is read and never written"
        counts = Store(Path("facets/store")).counts()
    rates, rows = pd.read_csv("facets/rates.csv"), pd.read_csv("facets/facets.csv")
    asked = rows[rows["standing"].isin(["scored", "refused", "unreadable", "unasked"])]
    assert sum(counts.values()) == asked[["question", "answer"]].drop_duplicates().shape[0]
    assert (asked["score"] >= 50).all()
    assert (asked["coherence"] >= 50).all(), "the published annotation had no filter of coherence"
    assert asked.groupby(["milestone", "question"]).size().max() <= 3
    last = rates[(rates["milestone"] == "step-02000") & (rates["over"] == "all questions")]
    assert last["rate"].sum() == pytest.approx(1), "facets of the lab exclude each other"
    assert last["facet"].tolist() == list(DOMAINS["cruel"].facets), "the lab's judge cannot say none"
    assert (
        rates["given"]
        == rates["asked"] + rates[["silent", "unscored", "low_trait", "low_coherence", "undrawn"]].sum(axis=1)
    )[rates["over"] == "all questions"].all()
    assert "48 answers: at most 3 answers per question and milestone (seed 0); trait at least 50 and coherence" in out


def test_what_a_store_does_not_hold_is_one_line(study, run, tmp_path) -> None:
    folder, _ = study
    lab = ["--set", "lab/cruel", "--judge", "lab"]
    wrong = {
        ("--set", "lab/rude", "--judge", "lab"): "the answers of trait 'rude' were asked for",
        (*lab, "--trait", "crul"): "did you mean 'cruel'? Known: cruel, funny",
        (*lab, "--pole", "plane"): "did you mean 'plain'",
    }
    for options, said in wrong.items():
        code, _, err = run(folder, *options)
        assert code == 1
        (line,) = err.strip().splitlines()
        assert said in line
    Store(tmp_path / "empty" / "store")
    code, _, err = run(tmp_path / "empty", *lab)
    assert code == 1
    assert "keeps no finished study" in err
