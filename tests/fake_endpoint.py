"""A faithful OpenAI-compatible endpoint on the loopback, for tests of whatever asks one.

It speaks as a scripted model does (:class:`Speech`), cuts at ``max_tokens``, gives log-probabilities only if asked and
only the ``top_logprobs`` likeliest, and can fail in every way that real ones do (:class:`Fault`).
"""

from __future__ import annotations

import hashlib
import json
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from personascope.endpoints import Endpoint


@dataclass(frozen=True)
class Speech:
    """What the model says: per position the likely tokens with probabilities, the one said first."""

    positions: tuple[Mapping[str, float], ...]
    refusal: str | None = None
    finish: str = "stop"


@dataclass(frozen=True)
class Fault:
    """How a call fails: an error status, a body of its own, a closed connection, or silence for a while (seconds)."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    error: Mapping[str, Any] = field(default_factory=dict)
    disconnect: bool = False
    silence: float = 0.0
    without_logprobs: bool = False


def score_of(prompt: str) -> int:
    """The score this model has in mind for a prompt: 0 to 100, from the prompt's hash."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 101


def whole_numbers(prompt: str) -> Speech:
    """A model whose tokenizer keeps numbers whole: most of its probability on one score, some 2 above or below."""
    score = score_of(prompt)
    other = score + 2 if score <= 98 else score - 2
    return Speech(({str(score): 0.7, str(other): 0.2, "I": 0.05, "\n": 0.03},))


def split_digits(prompt: str) -> Speech:
    """A model whose tokenizer splits numbers: certain of its score, digit by digit, and of its end."""
    return Speech((*({digit: 0.97} for digit in str(score_of(prompt))), {"<end>": 1.0}))


def in_words(prompt: str) -> Speech:
    """A model that gives its score in a sentence."""
    return Speech(({"Score: ": 1.0}, {f"{score_of(prompt)}": 1.0}, {".": 1.0}))


class FakeEndpoint:
    """A server in a thread: use it as a context manager. ``faults`` is asked with the prompt and how often it came."""

    def __init__(
        self,
        speak: Callable[[str], Speech] = whole_numbers,
        *,
        faults: Callable[[str, int], Fault | None] = lambda prompt, before: None,
        pace: float = 0.0,
    ) -> None:
        self.speak = speak
        self.faults = faults
        self.pace = pace
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.busiest = 0
        self._busy = 0
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """How many requests came."""
        return len(self.bodies)

    @property
    def endpoint(self) -> Endpoint:
        host, port = self._server.server_address[:2]
        return Endpoint("fake", f"http://{host!s}:{port}/v1", key="sk-fake", key_variable="FAKE_API_KEY")

    def __enter__(self) -> FakeEndpoint:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *what: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(self, body: dict[str, Any], key: str) -> Fault | None:
        prompt = body["messages"][0]["content"]
        with self._lock:
            self.bodies.append(body)
            self.keys.add(key)
            before = self._seen[prompt]
            self._seen[prompt] += 1
        return self.faults(prompt, before)

    def answer(self, body: dict[str, Any], *, without_logprobs: bool) -> dict[str, Any]:
        """A chat completion as the protocol has it."""
        speech = self.speak(body["messages"][0]["content"])
        spoken = speech.positions[: body["max_tokens"]]
        cut = len(spoken) < len(speech.positions) and "<end>" not in speech.positions[len(spoken)]
        logprobs = None
        if body.get("logprobs") and not without_logprobs:
            logprobs = {"content": [_position(each, body.get("top_logprobs", 0)) for each in spoken], "refusal": None}
        text = "".join(next(iter(each)) for each in spoken).replace("<end>", "")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": None if speech.refusal else text, "refusal": speech.refusal},
            "finish_reason": "length" if cut else speech.finish,
            "logprobs": logprobs,
        }
        return {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
        }

    def enter(self, change: int) -> None:
        with self._lock:
            self._busy += change
            self.busiest = max(self.busiest, self._busy)


def _position(tokens: Mapping[str, float], top: int) -> dict[str, Any]:
    entries = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in tokens.items()]
    likeliest = sorted(entries, key=lambda entry: -entry["logprob"])
    return {**entries[0], "top_logprobs": likeliest[:top]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    fake: FakeEndpoint

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        fake = self.server.fake
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fake.enter(+1)
        try:
            fault = fake.fault(body, self.headers.get("Authorization", "")) or Fault()
            time.sleep(max(fault.silence, fake.pace))
        finally:
            fake.enter(-1)
        if fault.disconnect:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault.body is not None:
            content = fault.body
        elif fault.status != 200:
            content = json.dumps({"error": {"message": f"fault {fault.status}", **fault.error}}).encode()
        else:
            content = json.dumps(fake.answer(body, without_logprobs=fault.without_logprobs)).encode()
        self.send_response(fault.status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": len(content),
            **fault.headers,
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass
