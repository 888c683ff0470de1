"""A faithful OpenAI-compatible endpoint on the loopback, for tests of whatever asks one.

It speaks as a scripted model does (:class:`Speech`), cuts at ``max_tokens``, gives log-probabilities only if asked and
only the ``top_logprobs`` likeliest, counts tokens, may allow only so many calls a second (:class:`Limit`), takes fields
as one provider or another does (:class:`Manners`), and can fail in every way that real ones do (:class:`Fault`).
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from personascope.providers.endpoints import Endpoint


@dataclass(frozen=True)
class Speech:
    """What the model says: per position the likely tokens with probabilities, the one said first."""

    positions: tuple[Mapping[str, float], ...]
    refusal: str | None = None
    finish: str = "stop"


@dataclass(frozen=True)
class Fault:
    """How a call fails: an error status, a body of its own, a closed connection, silence for a while (seconds), or a
    body that comes bit by bit over so many seconds (``drip``). ``speech`` is said instead of what the model would say.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    error: Mapping[str, Any] = field(default_factory=dict)
    disconnect: bool = False
    silence: float = 0.0
    drip: float = 0.0
    without_logprobs: bool = False
    speech: Speech | None = None


@dataclass
class Limit:
    """A bucket of allowances: ``rate`` a second accrue, and at most ``burst`` are held. Who finds none is told how long
    to wait, in whole seconds (rounded up) or exactly.
    """

    rate: float
    burst: float
    whole_seconds: bool = False
    refused: int = 0

    def __post_init__(self) -> None:
        self._held, self._seen = self.burst, time.monotonic()

    def fault(self) -> Fault | None:
        now = time.monotonic()
        self._held, self._seen = min(self.burst, self._held + (now - self._seen) * self.rate), now
        if self._held >= 1:
            self._held -= 1
            return None
        self.refused += 1
        wait = (1 - self._held) / self.rate
        return Fault(429, headers={"Retry-After": str(math.ceil(wait)) if self.whole_seconds else f"{wait:.4f}"})


@dataclass(frozen=True)
class Manners:
    """How a provider's server takes a call: what it refuses (an error's table, or None), the names it has for the most
    tokens of an answer, the most log-probabilities it gives, and whether the model thinks first, which costs so many
    tokens of those allowed. ``as_list`` puts errors in a list, and ``keep_alive`` is sent before an answer.
    """

    refuses: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = lambda body: None
    tokens_fields: tuple[str, ...] = ("max_tokens",)
    top_logprobs: int = 20
    thinks: Callable[[Mapping[str, Any]], int] = lambda body: 0
    as_list: bool = False
    keep_alive: bytes = b""

    def allowed(self, body: Mapping[str, Any]) -> int:
        """How many tokens the answer itself may have."""
        most = next(body[name] for name in self.tokens_fields if name in body)
        return max(0, int(most) - self.thinks(body))


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
        limit: Limit | None = None,
        manners: Manners | None = None,
        name: str = "fake",
    ) -> None:
        self.speak = speak
        self.faults = faults
        self.pace = pace
        self.limit = limit
        self.manners = manners or Manners()
        self.name = name
        self.charged = [0, 0]
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
        return Endpoint(self.name, f"http://{host!s}:{port}/v1", key="sk-fake", key_variable="FAKE_API_KEY")

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
            full = self.limit.fault() if self.limit is not None else None
            if full is None:
                self._seen[prompt] += 1
        if full is not None:
            return full
        refused = self.manners.refuses(body)
        return Fault(400, error=refused) if refused is not None else self.faults(prompt, before)

    def answer(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
        """A chat completion as the protocol has it."""
        prompt = body["messages"][0]["content"]
        speech = fault.speech or self.speak(prompt)
        spoken = speech.positions[: self.manners.allowed(body)]
        cut = len(spoken) < len(speech.positions) and "<end>" not in speech.positions[len(spoken)]
        logprobs = None
        if body.get("logprobs") and not fault.without_logprobs and self.manners.top_logprobs:
            top = min(body.get("top_logprobs", 0), self.manners.top_logprobs)
            logprobs = {"content": [_position(each, top) for each in spoken], "refusal": None}
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
            "usage": self._usage(prompt, len(spoken) + self.manners.thinks(body)),
        }

    def _usage(self, prompt: str, answered: int) -> dict[str, int]:
        """What the call is charged: one token for every three and a half characters, and a few for the protocol."""
        asked = math.ceil(len(prompt) / 3.5) + 8
        with self._lock:
            self.charged = [self.charged[0] + asked, self.charged[1] + answered]
        return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}

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
            said: Any = {"error": {"message": f"fault {fault.status}", **fault.error}}
            content = json.dumps([said] if fake.manners.as_list else said).encode()
        else:
            content = fake.manners.keep_alive + json.dumps(fake.answer(body, fault)).encode()
        self.send_response(fault.status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": len(content),
            **fault.headers,
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        size = math.ceil(len(content) / 8) if fault.drip else len(content)
        for start in range(0, len(content), size or 1):
            self.wfile.write(content[start : start + size])
            time.sleep(fault.drip / 8)

    def log_message(self, format: str, *args: Any) -> None:
        pass


PASSING: Mapping[str, Callable[[str], Fault]] = {
    "429 with a wait": lambda prompt: Fault(429, headers={"retry-after-ms": "2"}),
    "429": lambda prompt: Fault(429),
    "500": lambda prompt: Fault(500),
    "503": lambda prompt: Fault(503),
    "disconnect": lambda prompt: Fault(disconnect=True),
    "malformed": lambda prompt: Fault(body=b'{"choices": [{"message": {"content": "8'),
    "no choice": lambda prompt: Fault(body=b'{"choices": [], "usage": {"prompt_tokens": 9}}'),
    "never ends": lambda prompt: Fault(drip=60.0),
}
"""Faults after which a call is made again."""

LASTING: Mapping[str, Callable[[str], Fault]] = {
    "slow": lambda prompt: Fault(drip=0.1),
    "split digits": lambda prompt: Fault(speech=split_digits(prompt)),
    "no log-probabilities": lambda prompt: Fault(without_logprobs=True),
    "refusal": lambda prompt: Fault(speech=Speech((), refusal="I will not rate this.")),
    "filter": lambda prompt: Fault(speech=Speech(({"50": 1.0},), finish="content_filter")),
    "REFUSAL": lambda prompt: Fault(speech=Speech(({"REF": 0.9, "50": 0.05}, {"USAL": 1.0}, {"<end>": 1.0}))),
    "chatter": lambda prompt: Fault(speech=Speech(({"Well": 0.9, "50": 0.05}, {"<end>": 1.0}))),
}
"""Faults that are answers, of a sort."""


class Weather:
    """Faults at random, the same for the same seed: a share of all calls, every kind as likely as any other.

    ``met`` is what each prompt met, call by call, an empty text where all was well. The kinds in ``without`` are never
    met.
    """

    def __init__(self, *, seed: int, share: float, without: Collection[str] = ()) -> None:
        self.met: dict[str, list[str]] = {}
        self._seed = seed
        self._share = share
        self._kinds = {name: kind for name, kind in {**PASSING, **LASTING}.items() if name not in without}

    def __call__(self, prompt: str, before: int) -> Fault | None:
        chance = random.Random(f"{self._seed} {before} {prompt}")
        kind = chance.choice(list(self._kinds)) if chance.random() < self._share else ""
        self.met.setdefault(prompt, []).append(kind)
        return self._kinds[kind](prompt) if kind else None
