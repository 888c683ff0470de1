"""The verbs of traits, end to end: against an endpoint on the loopback, in a folder of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fake_endpoint import Fault
from personascope.authoring.lint import check_trait
from personascope.cli import app, terminal
from personascope.core.files import bundled
from personascope.core.traits import load_provenance, load_trait, trait_toml
from personascope.writers import Conversation
from refusals import refused
from trait_drafts import CAUTIOUS, a_draft, as_text, openings_for, scenes_for, story_for
from writing_endpoint import Turn, WritingEndpoint, in_turn

Run = Callable[..., tuple[int, str, str]]
BAD = "I would rather not."


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, in a folder of its own: its exit code, and what it said on either output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = terminal.guarded(lambda: app(["trait", *map(str, arguments)], standalone_mode=False))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


Start = Callable[[Callable[[Sequence[Turn]], str]], list[object]]


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_trait_is_written_on_the_first_second_or_third_try(
    tries: int, run: Run, endpoint: Start, tmp_path: Path
) -> None:
    bad = [BAD, as_text(a_draft(questions=a_draft()["questions"][:7]))][: tries - 1]
    options = endpoint(in_turn(*bad, as_text(a_draft())))
    code, out, err = run("new", "cautious", CAUTIOUS, *options, "--seed", 5)
    assert code == 0, err
    assert "cautious.toml: 5 contrasts, 20 questions to extract with and 20 to evaluate with" in out
    assert ("at the first try" if tries == 1 else f"in {tries} tries") in out
    assert [path.name for path in tmp_path.iterdir()] == ["cautious.toml"], "one file, and nothing half-written"
    path = tmp_path / "cautious.toml"
    trait, origin = load_trait(path), load_provenance(path)
    assert sorted(trait.extraction_questions + trait.evaluation_questions) == sorted(a_draft()["questions"])
    assert check_trait(path) == []
    assert origin is not None
    assert (origin.tries, origin.seed, origin.writer) == (tries, 5, "local/fake-1 max_tokens=8192 temperature=1 seed=5")


def test_after_the_third_try_it_fails_in_one_line_and_the_drafts_are_kept(
    run: Run, endpoint: Start, tmp_path: Path
) -> None:
    drafts = [BAD, as_text(a_draft(rubric="How?")), as_text(a_draft(contrasts=[]))]
    options = endpoint(in_turn(*drafts, as_text(a_draft())))
    result = run("new", "cautious", CAUTIOUS, *options)
    refused(result, "trait 'cautious' was not valid after 3 tries", "the drafts are in cautious.drafts.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["cautious.drafts.txt"], "no trait is made of them"
    kept = (tmp_path / "cautious.drafts.txt").read_text(encoding="utf-8")
    assert all(draft in kept for draft in drafts)
    refused(run("new", "cautious", CAUTIOUS, *options), "the drafts are in cautious.drafts-2.txt")
    assert (tmp_path / "cautious.drafts.txt").read_text(encoding="utf-8") == kept, "nothing is written over"


def test_a_failure_of_the_endpoint_after_a_draft_keeps_the_draft(run: Run, tmp_path: Path) -> None:
    with WritingEndpoint(lambda messages: BAD, faults=lambda prompt, before: Fault(401) if before else None) as fake:
        result = run("new", "cautious", CAUTIOUS, "--writer", "local:fake-1", "--url", fake.endpoint.base_url)
    refused(result, "trait 'cautious' was not written", "401", "cautious.drafts.txt")
    assert BAD in (tmp_path / "cautious.drafts.txt").read_text(encoding="utf-8")


def test_a_file_that_is_there_is_kept_and_nobody_is_asked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cautious.toml").write_text("mine")
    with WritingEndpoint() as fake:
        options = ["--writer", "local:fake-1", "--url", fake.endpoint.base_url]
        refused(run("new", "cautious", CAUTIOUS, *options), "cautious.toml is there already", "--out another name")
        refused(run("transform", "evil", "--to", "story", "--out", "cautious.toml", *options), "is there already")
        assert fake.calls == 0
    assert (tmp_path / "cautious.toml").read_text() == "mine"


FORMS: dict[str, Callable[[Sequence[Turn]], str]] = {
    "character": in_turn(as_text(openings_for(load_trait("evil"), "Mina"))),
    "dialogue": in_turn(as_text(scenes_for(load_trait("evil")))),
    "story": lambda messages: story_for(Conversation.asking(messages[0]["content"])),
}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_trait_is_turned_into_another_form(form: str, run: Run, endpoint: Start, tmp_path: Path) -> None:
    options = endpoint(FORMS[form])
    code, out, err = run("transform", "evil", "--to", form, "--person", "Mina", *options, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["trait"], told["form"], told["tries"]) == (f"evil-{form}.toml", form, 1)
    assert told["source"].startswith("assistant/evil sha256 ")
    trait = load_trait(tmp_path / f"evil-{form}.toml")
    assert trait.form == form
    assert run("check", f"evil-{form}.toml")[0] == 0


def test_situations_of_ones_own_are_read_from_a_file(run: Run, endpoint: Start, tmp_path: Path) -> None:
    lines = ["# mine", *(f"A miller met guest number {number} at the gate.\n" for number in range(55))]
    (tmp_path / "mine.txt").write_text("\n".join(lines))
    made = run("transform", "evil", "--to", "story", "--situations", "mine.txt", *endpoint(FORMS["story"]))
    assert made[0] == 0, made[2]
    assert "guest number 0 " in load_trait(tmp_path / "evil-story.toml").extraction_questions[0]


def test_a_model_on_this_machine_writes_too_and_the_lab_cannot(run: Run, tmp_path: Path) -> None:
    """The lab is a world of its own: what it says is no JSON, and its drafts are kept like any other's."""
    result = run("new", "cautious", CAUTIOUS, "--writer", "engine:lab", "--max-tokens", 8)
    refused(result, "was not valid after 3 tries", "cautious.drafts.txt")
    assert (tmp_path / "cautious.drafts.txt").read_text(encoding="utf-8").count("=== trait 'cautious', try") == 3


# Checking.


def test_every_shipped_trait_passes_in_one_call(run: Run) -> None:
    code, out, _ = run("check", *bundled("traits"))
    assert code == 0
    assert f"{len(bundled('traits'))} checked" in out
    assert " 0 to mend" in out


def test_what_is_wrong_is_a_table_and_the_exit_code_is_1(run: Run, tmp_path: Path) -> None:
    text = trait_toml(load_trait("evil"))
    (tmp_path / "bad.toml").write_text(text.replace("What do you think of people who", "Is it evil that people"))
    code, out, _ = run("check", "humorous", "bad.toml")
    assert code == 1
    assert "bad.toml" in out
    assert "extraction 15" in out
    assert "2 checked, 1 without a finding; 1 to mend, 0 to look at" in out
    code, out, _ = run("check", "bad.toml", "--json")
    assert code == 1
    (found,) = json.loads(out)["bad.toml"]
    assert (found["severity"], found["rule"], found["place"]) == ("error", "names-trait", "extraction 15")


def test_warnings_alone_are_no_failure(run: Run, tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text(trait_toml(load_trait("evil").limited(3)))
    code, out, _ = run("check", "few.toml")
    assert code == 0
    assert "0 to mend, 2 to look at" in out


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "cautious", "x", "--writer", "gpt-9"], "OPENAI_API_KEY is not set"),
        (["new", "cautious", "x", "--writer", "opena:gpt"], "did you mean 'openai'"),
        (["new", "cautious", "x", "--writer", "local:m", "--url", "localhost"], "starts with http"),
        (["new", "cautious", "x", "--writer", "local:m", "--temperature", "9"], "temperature from 0 to 2"),
        (["new", "cautious", "x", "--writer", "local:m", "--device", "cpu"], "are of a model on this machine"),
        (["new", "cautious", "x", "--writer", "engine:lab", "--url", "http://h/v1"], "no place to look for it"),
        (["new", "cautious", "x", "--writer", "engine:./no/such/folder"], "no/such/folder"),
        (["new", "cautious", "x", "--writer", "local:m", "--out", "c.json"], "c.json was given for a trait"),
        (["new", "very cautious", "x", "--writer", "local:m"], "trait 'very cautious' cannot name a file"),
        (["new", "cautious", " ", "--writer", "local:m"], "trait 'cautious' has no description"),
        (["new", "cautious", "x", "--writer", "local:m", "--url", "http://127.0.0.1:1/v1"], "nothing answers at"),
        (["transform", "evl", "--to", "story", "--writer", "local:m"], "did you mean 'assistant/evil'"),
        (["transform", "evil", "--to", "storry", "--writer", "local:m"], "did you mean 'story'"),
        (["transform", "character/evil", "--to", "story", "--writer", "local:m"], "has the form 'character'"),
        (["transform", "evil", "--to", "character", "--person", "a b", "--writer", "local:m"], "'a b' is no name"),
        (
            ["transform", "evil", "--to", "story", "--situations", "no.txt", "--writer", "local:m"],
            "no.txt: No such file",
        ),
        (
            ["transform", "evil", "--to", "story", "--situations", "few.txt", "--writer", "local:m"],
            "1 different situations",
        ),
        (
            ["transform", "evil", "--to", "story", "--situations", "odd.txt", "--writer", "local:m"],
            "odd.txt: not a text",
        ),
        (["transform", "no.toml", "--to", "story", "--writer", "local:m"], "no.toml: no such file"),
        (["check", "evl"], "did you mean 'assistant/evil'"),
        (["check", "no.toml"], "no.toml: no such file"),
        (["check", "odd.toml"], "odd.toml: not a readable TOML file"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "few.txt").write_text("One day it rained.")
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "odd.toml").write_text("name = ")
    before = sorted(tmp_path.iterdir())
    refused(run(*arguments), said)
    assert sorted(tmp_path.iterdir()) == before, "nothing is written"


def test_a_verb_without_what_it_needs_says_so(run: Run) -> None:
    for arguments in (["new"], ["new", "cautious", "x"], ["transform", "evil", "--writer", "m"], ["check"]):
        code, _, err = run(*arguments)
        assert code == 2, arguments
        assert "Missing" in err


def test_a_writer_stops_where_its_budget_ends_and_says_what_it_took(run: Run, endpoint: Start, tmp_path: Path) -> None:
    options = endpoint(in_turn(BAD, as_text(a_draft())))
    code, _, err = run("new", "cautious", CAUTIOUS, *options, "--budget", "100 tokens")
    assert code == 1, "the first call alone may take more than that"
    assert "the budget of 100 tokens is spent" in err
    assert not (tmp_path / "cautious.toml").exists()
    code, _, err = run("new", "cautious", CAUTIOUS, *options, "--budget", "100000 tokens")
    assert code == 0, err
    assert "local/fake-1 took" in err
    refused(run("new", "wary", CAUTIOUS, *options, "--budget", "5.00"), "no price of fake-1 at local is noted")
