"""Checkpoints from the Hub, fetched ahead of their use and within what the disk has to give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import checkpoint_cache_session
from checkpoint_cache_session import LABELS, LINE
from hub_stand_in import commit
from personascope.core.errors import DiskError
from personascope.engines.hub.disk import InsufficientSpace, format_size, parse_size
from personascope.engines.hub.prefetch import read_ahead
from personascope.engines.memory import free_on_host


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process saw, scene by scene; and what it printed beside."""
    root, work = tmp_path_factory.mktemp("hub") / "root", tmp_path_factory.mktemp("work")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    command = [sys.executable, checkpoint_cache_session.__file__, str(root), str(work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=kept)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"printed": done.stderr}


@pytest.fixture(scope="module")
def plain(session: dict[str, Any]) -> list[list[int]]:
    """What the five checkpoints answer where nobody cares for the disk."""
    answers: list[list[int]] = session["plain"]
    assert len({tuple(each) for each in answers}) == 5, "checkpoints must be told apart for this to show anything"
    return answers


def test_under_a_limit_the_cache_never_takes_more_and_every_checkpoint_is_fetched_once(
    session: dict[str, Any], plain: list[list[int]]
) -> None:
    seen = session["budget"]
    assert seen["said"] == plain, "a limit changed an answer"
    assert seen["fetched"] == ["step5", "step4", "step3", "step2"], "each once, in order, and not what was there before"
    assert seen["peak"] == 2, "two of them fit in two and a half, and two are wanted at once: this one and the next"


def test_what_was_in_the_cache_before_is_never_deleted(session: dict[str, Any]) -> None:
    assert all("step1" in there for there in session["budget"]["during"].values())
    assert session["budget"]["there"] == ["step1", "step2", "step3"], "deleting waits until room is needed"


def test_the_small_files_stay_so_that_a_resumed_run_opens_every_checkpoint(session: dict[str, Any]) -> None:
    assert session["budget"]["configs"] == 5


def test_the_next_checkpoint_is_fetched_while_the_present_one_is_in_use(
    session: dict[str, Any], plain: list[list[int]]
) -> None:
    seen = session["ahead"]
    assert seen["came"] == [True] * 3, "the next one was not asked for before the present one was closed"
    assert (seen["said"], seen["fetched"]) == (plain[:3], LABELS[:3])
    assert seen["there"] == sorted(LABELS[:3]), "without a limit nothing is deleted"


def test_with_room_for_one_checkpoint_the_next_comes_when_the_present_one_is_closed(session: dict[str, Any]) -> None:
    seen = session["ahead"]
    assert seen["before"] == ["step5"], "it came although there was no room beside the one in use"
    assert seen["after"], "it did not come although there was room"
    assert seen["peak"] == 1


def test_what_stays_in_use_beside_a_lineage_is_no_step_of_it(session: dict[str, Any]) -> None:
    seen = session["staying"]
    assert seen["came"] == [True, True]
    assert seen["fetched"] == ["step5", "step4", "step3", "step2"], (
        "the order was lost when the one beside it was asked"
    )


def test_one_cache_serves_one_walk_after_the_other(session: dict[str, Any], plain: list[list[int]]) -> None:
    seen = session["staying"]
    assert seen["said"] == [*plain[:2], *plain[1::-1]]
    assert seen["peak"] == 1


def test_a_killed_run_leaves_what_the_next_one_uses_and_then_deletes(
    session: dict[str, Any], plain: list[list[int]]
) -> None:
    seen = session["killed"]
    assert seen["half"]
    assert (seen["left"], seen["parts"]) == (["step5"], 1), "it was to be killed with one whole and one half"
    assert seen["fetched"] == ["step4", "step3", "step2", "step1"], "what the killed run had fetched is used"
    assert seen["said"] == plain
    assert seen["there"] == ["step1", "step2"], "what the killed run had fetched goes like the rest"
    assert seen["at_once"] == 1, "what it had half fetched is taken away before anything is fetched in its place"
    assert seen["parts_after"] == 0
    assert seen["peak"] == 2


def test_a_program_ends_although_the_next_checkpoint_never_comes(session: dict[str, Any]) -> None:
    assert session["ended"] == {"half": True, "while": True, "code": 7}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("small", "the weights of line@step5 take 182.8 kB on the disk at once, and --disk allows 91.41 kB: allow"),
        (
            "beside",
            "line@step5 and post@main take 365.6 kB on the disk at once, and --disk allows 274.2 kB: allow more",
        ),
        ("unchecked", "take 182.8 kB on the disk, and --disk allows 91.41 kB: allow more"),
        ("in_use", "take 182.8 kB, and of the 274.2 kB that --disk allows 182.8 kB are in use (line@"),
        ("notes", "notes.json cannot be read: delete it; what it says was fetched then counts as somebody else's"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line_with_both_numbers(
    session: dict[str, Any], asked: str, told: str
) -> None:
    refused = session["door"][asked]
    assert refused.startswith(("DiskError: ", "InsufficientSpace: "))
    assert issubclass(InsufficientSpace, DiskError)
    assert told in refused
    assert "\n" not in refused


def test_what_fits_or_is_not_known_to_the_hub_is_not_refused_at_the_door(session: dict[str, Any]) -> None:
    seen = session["door"]
    assert (seen["enough"], seen["gone"], seen["without"]) == ("not refused",) * 3
    assert seen["fetched"] == [], "refused, and yet something was fetched"
    assert seen["there"] == ["step2", "step3", "step4"], "what the lost notes told of counts as somebody else's"


def test_a_fault_ahead_is_silent_and_comes_up_when_the_checkpoint_is_opened(
    session: dict[str, Any], plain: list[list[int]]
) -> None:
    seen = session["gone"]
    assert "no such revision" in seen["plain"][0]
    assert "no weights" in seen["plain"][1]
    assert seen["cache"] == seen["limited"] == [plain[0], *seen["plain"], plain[1]]
    assert session["printed"] == "", "something was printed that nobody asked for"


def test_a_content_that_somebody_else_has_too_stays(session: dict[str, Any]) -> None:
    seen = session["shared"]
    assert seen["fetched"] == ["step5"], "one content, fetched once"
    assert seen["there"] == ["same", "step4"], "its name in our commit goes, in theirs it stays"
    assert seen["intact"]


def test_what_others_fetched_for_themselves_is_theirs_though_it_was_fetched_here_once(session: dict[str, Any]) -> None:
    seen = session["theirs"]
    assert (seen["stopped"], seen["noted"]) == (["step5"], [commit(LINE, "step5")]), "what did not come is nobody's"
    assert seen["there"] == ["step1", "step4", "step5"], "something was deleted that its owner had fetched himself"


def test_where_the_disk_has_no_room_the_next_checkpoint_is_fetched_when_it_is_asked_for(
    session: dict[str, Any],
) -> None:
    assert session["without"]["ahead"] == ["step5"], "the disk was to be filled to its brim"
    assert session["without"]["fetched"] == ["step5", "vast"]


def test_a_system_without_locks_loads_checkpoints_and_knows_no_limit(
    session: dict[str, Any], plain: list[list[int]]
) -> None:
    seen = session["without"]
    assert seen["said"] == plain[:2]
    assert "cannot be written and locked (this system has no flock): set HF_HUB_CACHE to" in seen["locks"]
    assert "or leave --disk out" in seen["locks"]


def test_an_older_huggingface_hub_deletes_the_same(session: dict[str, Any]) -> None:
    assert session["older"] == {"there": ["same", "step3"], "contents": 2, "intact": True}


def test_what_another_process_uses_is_kept_until_it_ends_however_it_ends(session: dict[str, Any]) -> None:
    seen = session["shared"]
    assert "182.8 kB are in use" in seen["refused"]
    assert "step3" in seen["kept"]
    assert "step3" not in seen["after"], "its process was killed, and nobody uses it"
    assert "step2" in seen["after"]


def test_two_walks_of_one_cache_take_turns_and_no_more_than_there_is(
    session: dict[str, Any], plain: list[list[int]]
) -> None:
    seen = session["together"]
    assert seen["said"] == {"down": plain[:3], "up": plain[2::-1]}
    assert seen["peak"] <= 4.5
    assert set(seen["noted"]) <= {commit(LINE, label) for label in LABELS}


def test_norms_along_a_lineage_are_the_same_under_a_limit(session: dict[str, Any]) -> None:
    seen = session["commands"]
    assert seen["norms-plain"] == seen["norms-disk"] == 0
    assert seen["csv-disk"] == seen["csv-plain"]
    assert (seen["peak-plain"], seen["peak-disk"]) == (3, 1)
    assert seen["fetched-disk"] == seen["fetched-plain"] == LABELS[2::-1]


def test_where_all_is_recorded_nothing_is_fetched(session: dict[str, Any]) -> None:
    seen = session["commands"]
    assert (seen["again"], seen["fetched-again"]) == (0, [])
    assert seen["csv-again"] == seen["csv-plain"]


def test_a_verb_refuses_a_bad_limit_before_it_writes_anything(session: dict[str, Any]) -> None:
    seen = session["commands"]
    for name, given in (("bad", "much"), ("zero", "0GB")):
        assert seen[name][0] == 1
        assert f"error: '{given}' is no size on the disk: give a number and a unit, as in 100GB" in seen[name][1]
    assert seen["written"] == []
    assert seen["small"][0] == 1
    assert "take 365.6 kB on the disk at once, and --disk allows 274 kB" in seen["small"][1]
    assert seen["late"] == []


def test_a_study_that_steers_another_model_records_the_same_under_a_limit(session: dict[str, Any]) -> None:
    seen = session["studied"]
    assert len(seen["records-plain"]) > 20
    assert seen["records-disk"] == seen["records-plain"]
    assert (seen["peak-plain"], seen["peak-disk"]) == (4, 2)
    assert sorted(seen["fetched-disk"]) == sorted(seen["fetched-plain"]) == ["main", "step3", "step4", "step5"]


def test_without_the_hub_what_the_cache_has_is_used(session: dict[str, Any], plain: list[list[int]]) -> None:
    assert session["offline"][:2] == plain[:2]
    assert "not in the local cache and the Hub cannot be reached" in session["offline"][2]
    assert "are not in the local cache, and the Hub cannot be reached: go online" in session["unreached"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100GB", 10**11),
        ("100 gb", 10**11),
        ("1.5TB", 15 * 10**11),
        (".5GiB", 2**29),
        ("80GiB", 80 * 2**30),
        ("3MiB", 3 * 2**20),
        ("250kB", 250_000),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "100", "GB", "100G", "-1GB", "1e3GB", "0GB", "0.0000000001kB", "100 GB of it", "nan"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(DiskError, match="is no size on the disk: give a number and a unit, as in 100GB or 80GiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "told"), [(0, "0 bytes"), (999, "999 bytes"), (182_824, "182.8 kB"), (14_595_000_000, "14.6 GB")]
)
def test_sizes_are_said_in_the_units_they_are_given_in(size: int, told: str) -> None:
    assert format_size(size) == told


def test_files_are_read_ahead_only_while_memory_for_twice_as_much_is_free(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two", tmp_path / "absent"]
    for path in paths[:2]:
        path.write_bytes(bytes(1000))
    stop = threading.Event()
    assert read_ahead(paths, stop=stop, free=lambda: 4000) == 2000
    assert read_ahead(paths, stop=stop, free=lambda: 3999) == 0, "what computes beside it may need the memory"
    left = iter([4000, 4000, 0])
    assert read_ahead(paths, stop=stop, free=lambda: next(left), piece=100) == 200, (
        "it goes on although memory is short"
    )
    stop.set()
    assert read_ahead(paths, stop=stop, free=lambda: 10**9) == 0, "it goes on although nobody wants it"


def test_free_memory_is_what_programs_could_have_and_the_control_group_allows(tmp_path: Path) -> None:
    assert free_on_host(tmp_path) > 0, "a system that does not say must not stop anything"
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8000 kB\nMemFree: 10 kB\nMemAvailable:  4000 kB\n")
    assert free_on_host(tmp_path) == 4_096_000, "memory that only keeps files is free"
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.stat").write_text("anon 1000\nfile 50000\n")
    for limit, free in (("max", 4_096_000), ("3000", 2000), ("500", 0), ("99999999", 4_096_000)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert free_on_host(tmp_path) == free
