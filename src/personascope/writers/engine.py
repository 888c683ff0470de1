"""A writer that is a model on this machine: what an engine says is what is written.

Owns: :class:`EngineWriter`. The one law: it speaks through the Engine protocol alone, so any engine can write, and a
remembering one asks nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from personascope.core.records import Request, Response, Sampling
from personascope.core.traits import Prompt
from personascope.engines import Engine
from personascope.writers import Conversation, Unwritten, without_thoughts

WRITING = Sampling(max_tokens=4096, temperature=0.8, repetition_penalty=1.0, draws=1)


class EngineWriter:
    """Writes with a local chat model. It must follow instructions: a base model goes on writing them instead.

    An engine renders one system and one user turn, so a longer conversation is told within the user's turn.
    """

    def __init__(self, engine: Engine, *, sampling: Sampling = WRITING) -> None:
        self.engine = engine
        self.sampling = sampling

    @property
    def name(self) -> str:
        """Checkpoint, engine and every setting that changes what is written."""
        sampling = self.sampling
        told = " ".join(f"{name}={value}" for name, value in sorted(self.engine.identity.items()))
        return (
            f"{self.engine.checkpoint.label} {told} max_tokens={sampling.max_tokens} "
            f"temperature={sampling.temperature:g} top_p={sampling.top_p:g} "
            f"repetition_penalty={sampling.repetition_penalty:g} seed={sampling.seed}"
        )

    def write(self, conversations: Sequence[Conversation]) -> list[str | Unwritten]:
        """One text per conversation, in order, or why there is none."""
        if not conversations:
            return []
        requests = [Request(self.engine.render(prompt_of(each)), self.sampling, each.draw) for each in conversations]
        return [self._text(response) for response in self.engine.generate(requests)]

    def _text(self, response: Response) -> str | Unwritten:
        text = without_thoughts(response.words)
        if response.finish == "length":
            return Unwritten(f"the answer was cut after {self.sampling.max_tokens} tokens: allow more max_tokens", text)
        return text or Unwritten("nothing was written")


def prompt_of(conversation: Conversation) -> Prompt:
    """A conversation as one system and one user turn.

    Example:
        >>> prompt_of(Conversation.asking("Write.").then("A draft.", "Better.")).question
        'Write.\\n\\nYou have answered:\\n\\nA draft.\\n\\nBetter.'
    """
    system = next((each.text for each in conversation.messages if each.role == "system"), None)
    turns = [
        f"You have answered:\n\n{each.text}" if each.role == "assistant" else each.text
        for each in conversation.messages
        if each.role != "system"
    ]
    return Prompt("\n\n".join(turns), system)
