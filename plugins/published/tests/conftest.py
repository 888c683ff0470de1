"""What the tests of the published study share with those of personascope."""

from __future__ import annotations

from command_line import run

__all__ = ["run"]
