"""A stand-in for the Hub on the loopback, and what a session with it must show. Run by test_hub, in its own process,
because huggingface_hub reads its environment once, when it is imported.

Owns: the three endpoints that resolving, fetching and listing ask for. The one law: it answers as the Hub does, header
for header where a client looks: a large file is known by the sha256 of its content, a small one by its name in git.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

MODEL = "toys/tiny"
ADAPTER = "toys/tuned"
VAST = "vast"
"""A branch whose files are said to be larger than they are."""


def commit(model: str, revision: str) -> str:
    """A 40-digit commit of a branch."""
    return hashlib.sha1(f"{model}@{revision}".encode()).hexdigest()


@functools.cache
def name_of(file: Path) -> str:
    """What the Hub, and then the cache, calls the content of a file, which never changes."""
    content = file.read_bytes()
    if file.suffix == ".safetensors":
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def facts_of(file: Path) -> dict[str, object]:
    """A file's size and content, as both of the API's lists of files tell them but for the names of the keys."""
    size = 10**18 if file.parent.name == VAST else file.stat().st_size
    large = {"lfs": {"size": size, "sha256": name_of(file), "oid": name_of(file), "pointerSize": 134}}
    return {"size": size, **(large if file.suffix == ".safetensors" else {})}


class Hub(http.server.BaseHTTPRequestHandler):
    """``root/model/branch/file`` is a file of a branch.

    ``halfway`` is called with the branch and the name of every file that is asked for with its content, when half of it
    is sent.
    """

    root: Path
    requests = 0
    halfway: Callable[[str, str], None] = staticmethod(lambda branch, name: None)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        type(self).requests += 1
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self.describe("/".join(parts[2:4]), parts[4:], body)
        model, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        if not (self.root / model).is_dir():
            return self.send(404, {"X-Error-Code": "RepoNotFound"}, b"", body)
        named = {commit(model, path.name): path.name for path in (self.root / model).iterdir()}
        branch = named.get(revision, revision)
        if branch not in named.values():
            return self.send(404, {"X-Error-Code": "RevisionNotFound"}, b"", body)
        headers = {"X-Repo-Commit": commit(model, branch)}
        file = self.root / model / branch / name
        if not file.is_file():
            return self.send(404, headers | {"X-Error-Code": "EntryNotFound"}, b"", body)
        content, etag = file.read_bytes(), f'"{name_of(file)}"'
        headers |= {"X-Linked-ETag": etag, "X-Linked-Size": str(len(content))} if "lfs" in facts_of(file) else {}
        return self.send(200, headers | {"ETag": etag}, content, body, lambda: self.halfway(branch, name))

    def describe(self, model: str, asked: list[str], body: bool) -> None:
        """What the API says of a repository: its branches, its extra folders (none), itself."""
        if not (self.root / model).is_dir():
            return self.send(404, {"X-Error-Code": "RepoNotFound"}, b"{}", body)
        branches = [path.name for path in (self.root / model).iterdir()]
        if asked == ["refs"]:
            refs = [
                {"name": each, "ref": f"refs/heads/{each}", "targetCommit": commit(model, each)} for each in branches
            ]
            said: object = {"branches": refs, "tags": [], "converts": [], "pullRequests": []}
            return self.send(200, {"Content-Type": "application/json"}, json.dumps(said).encode(), body)
        named = {commit(model, each): each for each in branches} | {each: each for each in branches}
        branch = named.get(asked[1])
        if branch is None:
            return self.send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}", body)
        files = [path for path in (self.root / model / branch).iterdir() if path.is_file()]
        if asked[0] == "tree":
            said = [{"type": "file", "path": file.name, "oid": name_of(file), **facts_of(file)} for file in files]
        else:
            asked_more = "blobs=" in self.path
            told = [
                {"rfilename": each.name, **({"blobId": name_of(each), **facts_of(each)} if asked_more else {})}
                for each in files
            ]
            said = {"id": model, "sha": commit(model, branch), "siblings": told}
        return self.send(200, {"Content-Type": "application/json"}, json.dumps(said).encode(), body)

    def send(
        self,
        status: int,
        headers: dict[str, str],
        content: bytes,
        body: bool,
        halfway: Callable[[], None] = lambda: None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            with contextlib.suppress(ConnectionError):  # who asked may be killed meanwhile
                self.wfile.write(content[: len(content) // 2])
                halfway()
                self.wfile.write(content[len(content) // 2 :])

    def log_message(self, *_: object) -> None:
        """Quiet."""


def refusal(action: object) -> str:
    """What a refused action says."""
    from personascope.core.errors import PersonascopeError

    try:
        action()  # type: ignore[operator]
    except PersonascopeError as refused:
        return f"{type(refused).__name__}: {refused}"
    return "not refused"


def session() -> dict[str, object]:
    """All that test_hub asserts, gathered in one process."""
    from personascope.core.lineages import Checkpoint
    from personascope.core.records import Request, Sampling
    from personascope.engines.hf.engine import TransformersEngine
    from personascope.engines.hub import list_lineage

    request = Request("who is there?", Sampling(max_tokens=6, temperature=0))

    def answer(revision: str, adapter: str | None = None) -> tuple[str, str, list[int]]:
        engine = TransformersEngine(Checkpoint(MODEL, revision, adapter=adapter))
        said = engine.generate([request])[0].tokens
        return engine.checkpoint.revision, engine.checkpoint.adapter_revision, list(said)

    return {
        "main": answer("main"),
        "early": answer("stage1-step10-tokens2B"),
        "by_commit": answer(commit(MODEL, "main")),
        "adapted": answer("main", ADAPTER),
        "lineage": [
            [each.label, each.tokens_seen, each.stage, each.checkpoint.revision] for each in list_lineage(MODEL)
        ],
        "some": [each.label for each in list_lineage(MODEL, pattern="stage1-*")],
        "no_pattern": refusal(lambda: list_lineage(MODEL, pattern="stage9-*")),
        "no_repository": refusal(lambda: TransformersEngine(Checkpoint("toys/none"))),
        "no_revision": refusal(lambda: TransformersEngine(Checkpoint(MODEL, "step99"))),
        "no_name": refusal(lambda: TransformersEngine(Checkpoint("no such: name"))),
        "not_an_adapter": refusal(lambda: TransformersEngine(Checkpoint(MODEL, adapter=MODEL))),
    }


def serve(root: Path, cache: Path) -> http.server.ThreadingHTTPServer:
    """The Hub of a folder, running, and this process told to ask nobody else; before huggingface_hub is imported."""
    Hub.root = root
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    return server


def main(root: Path, cache: Path) -> None:
    """One session online, then what is left without the Hub."""
    server = serve(root, cache)
    seen: dict[str, object] = {"online": session(), "requests": Hub.requests}
    server.shutdown()
    server.server_close()
    start = time.monotonic()
    seen["offline"] = session()
    seen["offline_seconds"] = time.monotonic() - start
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
