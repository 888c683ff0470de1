"""A writer that remembers: what a killed run had written is not asked for again.

Owns: :class:`RememberingWriter`. The one law: it is the same port; only what was written whole is recorded, so that
whatever failed is asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence

from personascope.core.identity import canonical, key_of
from personascope.store.caching import Notice, silent
from personascope.store.store import Store, chunked
from personascope.writers import Conversation, Unwritten, Writer


class RememberingWriter:
    """A writer that asks only for what the store does not know, in chunks that are recorded as they come."""

    def __init__(self, writer: Writer, store: Store, *, chunk: int = 64, notice: Notice = silent) -> None:
        self.writer = writer
        self.store = store
        self._chunk = chunk
        self._notice = notice

    @property
    def name(self) -> str:
        return self.writer.name

    def write(self, conversations: Sequence[Conversation]) -> list[str | Unwritten]:
        """One text per conversation, in order, or why there is none."""
        keys = [key_of("text", {"writer": self.name, "conversation": canonical(each)}) for each in conversations]
        known: dict[str, str | Unwritten] = {key: found["text"] for key, found in self.store.lookup(keys).items()}
        missing = {key: each for key, each in zip(keys, conversations, strict=True) if key not in known}
        self._notice("text", len(keys) - len(missing), False)
        for some in chunked(list(missing.items()), self._chunk):
            texts = dict(zip((key for key, _ in some), self.writer.write([each for _, each in some]), strict=True))
            written = [(key, text) for key, text in texts.items() if not isinstance(text, Unwritten)]
            if written:
                self.store.record("text", [(key, {"text": text}, {"writer": self.name}) for key, text in written])
            known |= texts
            self._notice("text", len(some), True)
        return [known[key] for key in keys]
