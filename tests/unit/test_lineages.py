"""Lineages: their order, their selections, their files, and the token counts of those that ship."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from personascope.core.errors import CheckpointError, LineageError
from personascope.core.identity import key_of
from personascope.core.lineages import Checkpoint, Lineage, Milestone, load_lineage, tokens_in


def a_lineage() -> Lineage:
    counts = {"a": 10, "b": 20, "c": 30, "d": 40, "e": None}
    milestones = tuple(
        Milestone(Checkpoint("model", label), label, tokens, stage="1" if label in "abc" else "2")
        for label, tokens in counts.items()
    )
    return Lineage("letters", milestones, targets=(Milestone(Checkpoint("tuned"), "sft"),))


def labels(lineage: Lineage) -> str:
    return "".join(milestone.label for milestone in lineage)


def checkpoints_in(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}", encoding="utf-8")
    return folder


# Selections.


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 99])
def test_every_counts_back_from_the_last_milestone_which_always_stays(step: int) -> None:
    naive = ""
    for place, label in enumerate(reversed("abcde")):
        naive = label + naive if place % step == 0 else naive
    assert labels(a_lineage().every(step)) == naive


@pytest.mark.parametrize("step", [0, -1])
def test_every_needs_a_step_of_one_or_more(step: int) -> None:
    with pytest.raises(LineageError, match="give 1 or more"):
        a_lineage().every(step)


def test_until_is_inclusive_and_leaves_out_milestones_whose_tokens_nobody_knows() -> None:
    assert labels(a_lineage().until(30)) == "abc"
    assert labels(a_lineage().until(29)) == "ab"
    assert labels(a_lineage().until(10**18)) == "abcd"


def test_until_before_the_first_milestone_says_where_the_lineage_begins() -> None:
    with pytest.raises(LineageError, match=r"'letters' has no milestone at or before 9 tokens; the first count is 10"):
        a_lineage().until(9)
    with pytest.raises(LineageError, match="none of its milestones has a count"):
        a_lineage().only(("e",)).until(9)


def test_a_stage_keeps_its_milestones_and_an_unknown_one_is_told_the_known_ones() -> None:
    assert labels(a_lineage().stage("1")) == "abc"
    assert labels(a_lineage().stage("2")) == "de"
    with pytest.raises(LineageError, match=r"has no stage '3'; .*Known: 1, 2"):
        a_lineage().stage("3")


def test_only_keeps_the_order_of_the_lineage_and_not_of_the_labels() -> None:
    assert labels(a_lineage().only(("d", "a"))) == "ad"


def test_selections_compose_and_keep_the_targets() -> None:
    chosen = a_lineage().stage("1").every(2)
    assert labels(chosen) == "ac"
    assert chosen.target("sft").checkpoint == Checkpoint("tuned")


def test_unknown_milestones_and_targets_name_the_nearest_ones() -> None:
    lineage = load_lineage("olmo-3-7b")
    with pytest.raises(
        LineageError, match=r"'stage1-step3001' is not in lineage 'olmo-3-7b'; did you mean 'stage1-step3000'"
    ):
        lineage.only(("stage1-step3001",))
    with pytest.raises(LineageError, match=r"target 'instuct' is not one of .*did you mean 'instruct'"):
        lineage.target("instuct")


def test_a_lineage_without_milestones_is_refused() -> None:
    with pytest.raises(LineageError, match="'none' has no milestones: give it at least one checkpoint"):
        Lineage("none", ())


# Checkpoints.


def test_where_a_folder_lies_is_annotation_and_which_weights_is_identity(tmp_path: Path) -> None:
    here, there = (Checkpoint("folder", "abc", path=tmp_path / name) for name in ("here", "there"))
    other = Checkpoint("folder", "abd", path=tmp_path / "here")
    assert here == there
    assert key_of("x", {"checkpoint": here}) == key_of("x", {"checkpoint": there}), "moving a folder lost a record"
    assert here != other
    assert key_of("x", {"checkpoint": here}) != key_of("x", {"checkpoint": other})


def test_a_checkpoint_is_named_for_people() -> None:
    assert Checkpoint("allenai/Olmo-3-1025-7B", "main").label == "Olmo-3-1025-7B@main"
    assert Checkpoint("folder", "", path=Path("/x/step-10")).label == "step-10"
    assert Checkpoint("a/b", adapter="me/tuned").label == "b@main+tuned"


def test_a_revision_of_a_folder_is_an_error_and_not_silently_the_wrong_weights(tmp_path: Path) -> None:
    assert Checkpoint.at(tmp_path).path == tmp_path
    assert Checkpoint.at("a/b", revision="step1") == Checkpoint("a/b", "step1")
    with pytest.raises(CheckpointError, match=r"revision 'step1' asked of .* which is a folder"):
        Checkpoint.at(tmp_path, revision="step1")


# Folders and files.


def test_the_checkpoints_of_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    checkpoints_in(tmp_path, "step-1000", "step-200", "step-30", "final", "step-200b")
    (tmp_path / "logs").mkdir()
    found = [milestone.label for milestone in load_lineage(tmp_path)]
    assert found == ["final", "step-30", "step-200", "step-200b", "step-1000"], "digits compare as numbers"


def test_a_folder_that_is_a_checkpoint_is_a_lineage_of_one(tmp_path: Path) -> None:
    lineage = load_lineage(checkpoints_in(tmp_path, "only") / "only")
    assert [(m.label, m.checkpoint.path) for m in lineage] == [("only", tmp_path / "only")]


def test_a_folder_without_checkpoints_says_what_a_checkpoint_is(tmp_path: Path) -> None:
    with pytest.raises(LineageError, match=r"holds no checkpoint \(a subfolder with a config.json\)"):
        load_lineage(tmp_path)


def test_an_unknown_lineage_names_the_nearest_one() -> None:
    with pytest.raises(LineageError, match=r"'olmo-3-8b' is neither bundled.*did you mean 'olmo-3-7b'"):
        load_lineage("olmo-3-8b")


def test_folders_in_a_lineage_file_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nmodel = "a/b"\n[[milestones]]\nfolder = "first"\ntokens_seen = 1_000\n'
        '[[milestones]]\nrevision = "r2"\nlabel = "second"\n[[milestones]]\nmodel = "c/d"\n',
        encoding="utf-8",
    )
    first, second, third = load_lineage(path)
    assert (first.label, first.tokens_seen, first.checkpoint.path) == ("first", 1000, (tmp_path / "first").resolve())
    assert (second.label, second.checkpoint) == ("second", Checkpoint("a/b", "r2"))
    assert (third.label, third.checkpoint) == ("c/d", Checkpoint("c/d", "main"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[[milestones]]\nrevison = 'r'", r"unknown key 'milestones\.0\.revison'; did you mean 'revision'"),
        ("milestones = []", "has no milestones: give it at least one checkpoint"),
        ("[[milestones]]\nlabel = 'x'", "milestone 'x' has neither a folder nor a model"),
        ("[[milestones]]\nmodel = 'm'\ntokens_seen = 'many'", r"milestones\.0\.tokens_seen: "),
        ("", "milestones: "),
    ],
)
def test_what_is_wrong_with_a_lineage_file_is_said_in_one_line(tmp_path: Path, body: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\n{body}\n', encoding="utf-8")
    with pytest.raises(LineageError, match=said) as caught:
        load_lineage(path)
    assert "\n" not in str(caught.value)


# What ships.


def naive_olmo_tokens(label: str) -> int:
    """Tracing study §1.1, stage by stage."""
    if label == "main":
        label = "stage3-step11921"
    stage, step = map(int, re.findall(r"\d+", label))
    first = (step if stage == 1 else 1_413_814) * 4_194_304
    second = {1: 0, 2: step, 3: 47_684}[stage] * 2_097_152
    third = (step if stage == 3 else 0) * 4_194_304
    return first + second + third


def test_the_olmo_lineage_has_the_sixteen_published_checkpoints_with_exact_tokens() -> None:
    lineage = load_lineage("olmo-3-7b")
    assert len(lineage) == 16
    for milestone in lineage:
        assert milestone.checkpoint == Checkpoint("allenai/Olmo-3-1025-7B", milestone.label)
        assert milestone.tokens_seen == naive_olmo_tokens(milestone.label), milestone.label
    assert [len(lineage.stage(stage)) for stage in "123"] == [13, 1, 2]
    assert lineage.milestones[0].tokens_seen == 12_582_912_000, "12.6 B tokens at step 3000 (tracing study, fact 6)"
    assert lineage.milestones[-1].tokens_seen == 6_079_966_609_408, "6079.966609 B tokens at main"
    assert {m.label: m.same_weights_as for m in lineage if m.same_weights_as} == {"stage3-step11921": "main"}
    assert [(m.label, m.checkpoint.model) for m in lineage.targets] == [
        ("sft", "allenai/Olmo-3-7B-Instruct-SFT"),
        ("dpo", "allenai/Olmo-3-7B-Instruct-DPO"),
        ("instruct", "allenai/Olmo-3-7B-Instruct"),
    ]


def test_the_stages_count_every_listed_milestone_and_those_between_them() -> None:
    lineage = load_lineage("olmo-3-7b")
    unlisted = replace(lineage, milestones=lineage.milestones[-1:])
    for milestone in lineage:
        assert lineage.at(milestone.label) == milestone, "a listed milestone is given as it is listed"
        counted = unlisted.at(milestone.label)
        assert counted.tokens_seen == milestone.tokens_seen, f"{milestone.label} counted by its stage"
        assert counted.stage == milestone.stage
    for label in ("stage1-step1000", "stage2-step1000", "stage3-step1000", "stage1-step1004000"):
        between = lineage.at(label)
        assert between.tokens_seen == naive_olmo_tokens(label), label
        assert between.checkpoint == Checkpoint("allenai/Olmo-3-1025-7B", label)
        assert between.stage == label[5]


@pytest.mark.parametrize(
    "revision", ["1000", "stage1-step", "stage1-stepX", "stage9-step3", "step3000", "stage1-step3000_more", ""]
)
def test_a_revision_that_belongs_to_no_stage_has_no_tokens(revision: str) -> None:
    milestone = load_lineage("olmo-3-7b").at(revision)
    assert (milestone.tokens_seen, milestone.stage) == (None, ""), f"'{revision}' was counted by a stage it is not of"


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("step50000-tokens210B", 210 * 10**9),
        ("step2627139-tokens15T", 15 * 10**12),
        ("ingredient1-step2000-tokens9B", 9 * 10**9),
        ("step1-tokens1.26T", 1_260_000_000_000),
        ("step1-tokens0.1M_variant", 100_000),
        ("step1-tokens500K", 500_000),
        ("tokens15Tx", None),
        ("tokens15", None),
        ("15T", None),
        ("main", None),
    ],
)
def test_the_tokens_in_a_name_are_read_exactly_or_not_at_all(name: str, tokens: int | None) -> None:
    assert tokens_in(name) == tokens


def test_stages_are_annotation_and_may_stand_in_any_lineage_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    stage = "[[stages]]\nname = 'a'\nbegins = 'a-'\ntokens_before = 5\ntokens_per_step = 10\n"
    path.write_text(f"name = 'mine'\nmodel = 'm'\n{stage}[[milestones]]\nrevision = 'main'\n", encoding="utf-8")
    lineage = load_lineage(path)
    assert lineage.at("a-3").tokens_seen == 35
    assert lineage == replace(lineage, stages=()), "stages say when, not which: they are part of no comparison"
    path.write_text(path.read_text().replace("begins", "begin"), encoding="utf-8")
    with pytest.raises(LineageError, match="did you mean 'begins'"):
        load_lineage(path)


def test_the_apertus_lineage_takes_its_tokens_from_the_revision_names() -> None:
    lineage = load_lineage("apertus-8b")
    assert len(lineage) == 16
    named = [milestone for milestone in lineage if milestone.label != "main"]
    for milestone in named:
        step, count, unit = re.fullmatch(r"step(\d+)-tokens(\d+)([BT])", milestone.label).groups()  # type: ignore[union-attr]
        assert milestone.tokens_seen == int(count) * (10**9 if unit == "B" else 10**12)
        if unit == "B":
            assert int(count) * 50_000 == int(step) * 210, f"{milestone.label} breaks the rule of step50000-tokens210B"
    assert (named[0].label, named[-1].label) == ("step50000-tokens210B", "step2627139-tokens15T")
    assert lineage.milestones[-1].same_weights_as == "step2627139-tokens15T"
    assert lineage.target("instruct").checkpoint == Checkpoint("swiss-ai/Apertus-8B-Instruct-2509")


@pytest.mark.parametrize("name", ["olmo-3-7b", "apertus-8b"])
def test_a_shipped_lineage_goes_forward_and_its_aliases_name_a_milestone_of_the_same_age(name: str) -> None:
    lineage = load_lineage(name)
    counts = [milestone.tokens_seen for milestone in lineage]
    assert counts == sorted(counts), "milestones are listed in the order of training"  # type: ignore[type-var]
    ages = {milestone.label: milestone.tokens_seen for milestone in lineage}
    assert len(ages) == 16, "two milestones share a label"
    for milestone in lineage:
        if milestone.same_weights_as:
            assert ages[milestone.same_weights_as] == milestone.tokens_seen
