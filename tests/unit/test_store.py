"""The store: a record, once written, is never changed or lost, whatever happens to the process or the disk."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from personascope.core.errors import StoreError
from personascope.core.identity import key_of
from personascope.core.lineages import Checkpoint
from personascope.core.records import Case, Edit, Request, Sampling, Verdict
from personascope.core.traits import Prompt
from personascope.engines.scripted import ScriptedEngine
from personascope.judges.scripted import ScriptedJudge
from personascope.store.caching import RecordedEngine, RecordedJudge, RememberingEngine, RememberingJudge
from personascope.store.store import Store
from scripted_world import TRAITS

CHECKPOINT = Checkpoint("toy", "step-1")
SAMPLING = Sampling(max_tokens=12)


def engine() -> ScriptedEngine:
    return ScriptedEngine(CHECKPOINT, TRAITS)


def requests(count: int = 10, **other) -> list[Request]:
    return [Request(f"What of matter {number}?", SAMPLING, draw=number % 3, **other) for number in range(count)]


def test_a_record_stands_whoever_writes_after(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    assert first.record("verdict", [("key", {"score": 1}, {"judge": "a"})]) == {"key": {"score": 1}}
    assert second.record("verdict", [("key", {"score": 2}, {"judge": "b"})]) == {"key": {"score": 1}}
    assert first.provenance("key")["by"] == {"judge": "a"}


def test_text_no_encoding_holds_survives(tmp_path):
    text = "a\x00b\ud800c\u202e😀\nNA"
    Store(tmp_path).record("response", [("key", {"text": text}, {})])
    assert Store(tmp_path).lookup(["key"])["key"]["text"] == text


def test_a_lookup_of_many_keys_finds_those_that_are_there(tmp_path):
    store = Store(tmp_path)
    store.record("verdict", [(f"key {number}", {"n": number}, {}) for number in range(1700)])
    found = store.lookup(f"key {number}" for number in range(0, 3400, 2))
    assert len(found) == 850
    assert all(found[f"key {value['n']}"] == value for value in found.values())


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_a_remembering_engine_answers_as_the_engine_does_and_asks_each_request_once(tmp_path, chunk):
    plain, store = engine(), Store(tmp_path)
    asked = requests() + requests(4)
    remembered = RememberingEngine(engine(), store, chunk=chunk)
    for _ in range(2):
        heard = remembered.generate(asked)
        assert [each.text for each in heard] == [each.text for each in plain.generate(asked)]
        assert [each.request for each in heard] == asked, "answers come in the order of the requests"
    assert sum(store.counts().values()) == 10
    fresh = RememberingEngine(engine(), store)
    fresh.generate(asked)
    assert fresh.engine.loads == 0, "what is remembered loads no model"


def test_readings_are_kept_and_may_be_deleted(tmp_path):
    store = Store(tmp_path)
    remembered = RememberingEngine(engine(), store, chunk=4)
    responses = remembered.generate(requests())
    first = remembered.read(responses)
    again = RememberingEngine(engine(), Store(tmp_path))
    assert np.array_equal(again.read(responses).response, first.response, equal_nan=True)
    assert again.engine.loads == 0
    files = sorted((tmp_path / "readings").iterdir())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:100])
    mended = RememberingEngine(engine(), Store(tmp_path))
    assert np.array_equal(mended.read(responses[::-1]).norms, first.norms[::-1], equal_nan=True)
    assert mended.engine.loads == 1, "what was deleted or broken is read again"


def test_the_same_edit_made_twice_is_the_same_question_and_another_is_not(tmp_path):
    remembered = RememberingEngine(engine(), Store(tmp_path))
    direction = np.linspace(0, 1, 256)
    one = [requests(1, edits=(Edit(direction.copy(), 2),))[0] for _ in range(2)]
    other = requests(1, edits=(Edit(direction, 3),))
    keys = [each.key for each in remembered.generate([*one, *other])]
    assert keys[0] == keys[1] != keys[2]


def test_annotations_are_part_of_no_key():
    few, many = Sampling(draws=1), Sampling(draws=9)
    here, there = Checkpoint("folder", "abc", path="/a"), Checkpoint("folder", "abc", path="/b")
    assert key_of("response", {"request": Request("x", few)}) == key_of("response", {"request": Request("x", many)})
    assert key_of("reading", {"checkpoint": here}) == key_of("reading", {"checkpoint": there})
    assert key_of("response", {"request": Request("x", few)}) != key_of("response", {"request": Request("y", few)})


def test_a_judge_is_asked_each_case_once_and_not_at_all_the_second_time(tmp_path):
    case = Case(TRAITS[0].rubric, "Why?", "grim grim lamp stood")
    judge = ScriptedJudge(TRAITS)
    remembered = RememberingJudge(judge, Store(tmp_path))
    assert [each.score for each in remembered.score([case, case])] == [50.0, 50.0]
    assert [each.score for each in RememberingJudge(judge, Store(tmp_path)).score([case])] == [50.0]
    assert judge.asked == 1


class FailingJudge(ScriptedJudge):
    """Gives no verdict the first time a case is put to it, as an endpoint that is down does."""

    def score(self, cases):
        verdicts = super().score(cases)
        return [Verdict("unasked", reason="no connection") for _ in verdicts] if self.asked <= len(cases) else verdicts


def test_a_verdict_nobody_gave_is_not_remembered(tmp_path):
    case = Case(TRAITS[0].rubric, "Why?", "grim")
    remembered = RememberingJudge(FailingJudge(TRAITS), Store(tmp_path))
    assert remembered.score([case])[0].outcome == "unasked"
    assert remembered.score([case])[0].score == 100.0


def test_what_was_said_is_kept_and_read_again_by_the_present_rule(tmp_path):
    class Rereading(ScriptedJudge):
        def reread(self, case, verdict):
            return Verdict("scored", verdict.score / 2)

    case = Case(TRAITS[0].rubric, "Why?", "grim")
    RememberingJudge(ScriptedJudge(TRAITS), Store(tmp_path)).score([case])
    assert RememberingJudge(Rereading(TRAITS), Store(tmp_path)).score([case])[0].score == 50.0


def test_an_engine_that_is_not_there_gives_what_was_recorded_and_an_error_that_counts_the_rest(tmp_path):
    store, here = Store(tmp_path), engine()
    remembering = RememberingEngine(here, store)
    prompt = Prompt("What of matter 0?")
    rendered, said = remembering.render(prompt), remembering.generate(requests(4))
    readings = remembering.read(said)
    shape = {"last_layer": here.last_layer, "hidden_size": here.hidden_size}
    absent = RecordedEngine(here.checkpoint, dict(here.identity), **shape, store=store)
    again = RememberingEngine(absent, store)
    assert again.render(prompt) == rendered
    heard = again.generate(requests(4))
    assert [(each.key, each.tokens, each.text) for each in heard] == [
        (each.key, each.tokens, each.text) for each in said
    ]
    assert np.array_equal(again.read(said).response, readings.response, equal_nan=True)
    with pytest.raises(StoreError, match="lacks 6 responses of toy@step-1: run the study on it again"):
        again.generate(requests(10))
    with pytest.raises(StoreError, match="lacks the rendering of a prompt"):
        again.render(Prompt("What of another matter?"))


def test_a_judge_that_is_not_to_be_asked_gives_what_was_recorded_and_an_error_that_counts_the_rest(tmp_path):
    store, here = Store(tmp_path), ScriptedJudge(TRAITS)
    known, other = Case(TRAITS[0].rubric, "Why?", "grim"), Case(TRAITS[0].rubric, "Why?", "grim grim")
    said = RememberingJudge(here, store).score([known])
    again = RememberingJudge(RecordedJudge(here, store), store)
    assert again.score([known]) == said
    with pytest.raises(StoreError, match="lacks 1 verdicts"):
        again.score([known, other])
    assert here.asked == 1


WRITER = """
import sys
from personascope.store.store import Store
store = Store(sys.argv[1])
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    store.record("verdict", [(f"{number}-{part}", {"n": number}, {}) for part in range(20)])
    print(number, flush=True)
"""


def start_writer(*arguments, **how) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def test_a_killed_writer_loses_at_most_the_chunk_in_flight(tmp_path):
    for number in range(4):
        writer = start_writer(tmp_path, number * 1000, number * 1000 + 1000)
        for _ in range(3 + number):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        store = Store(tmp_path)
        for done in range(number * 1000, last + 1):
            assert len(store.lookup(f"{done}-{part}" for part in range(20))) == 20, f"chunk {done} was acknowledged"
        torn = [n for n in range(last + 1, last + 50) if len(store.lookup(f"{n}-{part}" for part in range(20))) % 20]
        assert not torn, f"chunks {torn} are there in part"


def test_processes_that_share_a_store_corrupt_nothing(tmp_path):
    writers = [start_writer(tmp_path, 0, 25), start_writer(tmp_path, 10, 35), start_writer(tmp_path, 0, 35)]
    for writer in writers:
        _, problem = writer.communicate(timeout=120)
        assert writer.returncode == 0, problem
    store = Store(tmp_path)
    assert store.counts() == {("verdict", "None"): 35 * 20}
    assert all(value["n"] == int(key.split("-")[0]) for key, value in store.lookup(f"{n}-3" for n in range(35)).items())


def test_a_full_disk_is_a_clear_error_that_keeps_what_was_recorded(tmp_path):
    """A limit on file size stands in for a full disk: writing past it fails in the same place."""
    script = textwrap.dedent(
        """
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        from personascope.core.errors import StoreError
        from personascope.store.store import Store
        store, written = Store(sys.argv[1]), 0
        try:
            for number in range(1000):
                store.record("verdict", [(f"{number}", {"text": "x" * 5000}, {})])
                written += 1
        except StoreError as problem:
            print(written, problem)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    written, _, problem = done.stdout.partition(" ")
    assert "the disk is full" in problem, done.stdout + done.stderr
    assert "run again, it goes on where it stopped" in problem
    assert int(written) > 10
    assert len(Store(tmp_path).lookup(str(number) for number in range(1000))) == int(written)


def test_a_read_only_store_can_be_read_and_says_so_when_written(tmp_path):
    Store(tmp_path / "store").record("verdict", [("key", {"score": 1}, {})])
    script = textwrap.dedent(
        """
        import os, sys
        from personascope.core.errors import StoreError
        from personascope.store.store import Store
        if os.getuid() == 0:  # root may write anywhere, so root steps down
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        store = Store(sys.argv[1])
        print(store.lookup(["key"]))
        try:
            store.record("verdict", [("other", {}, {})])
        except StoreError as problem:
            print(problem)
        """
    )
    for folder in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        folder.chmod(0o755)
    for path in [*(tmp_path / "store").iterdir(), tmp_path / "store"]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "store")], capture_output=True, text=True)
    (tmp_path / "store").chmod(0o755)
    assert "{'key': {'score': 1}}" in done.stdout, done.stderr
    assert "it is read-only: give a store you may write to" in done.stdout


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "records.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="if the file is not a store, give another folder"):
        Store(tmp_path).lookup(["key"])


def test_an_unknown_key_is_refused_by_provenance(tmp_path):
    with pytest.raises(StoreError, match="has none of that key"):
        Store(tmp_path).provenance("abc")


def test_a_store_opens_and_is_read_while_another_process_is_writing(tmp_path):
    """A writer that is in the midst of a transaction holds nobody up: who needs its lock would wait for two minutes."""
    Store(tmp_path).record("verdict", [("key", {"score": 1}, {})])
    writing = sqlite3.connect(tmp_path / "records.sqlite", isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    writing.execute("UPDATE records SET kind = 'other'")
    start = time.monotonic()
    assert Store(tmp_path).lookup(["key"]) == {"key": {"score": 1}}
    assert time.monotonic() - start < 5
    writing.execute("ROLLBACK")
    writing.close()
