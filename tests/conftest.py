"""What all tests share: generated examples are the same in every run.

A suite that says yes today and no tomorrow about one commit says nothing. `HYPOTHESIS_PROFILE=explore make test` draws
new examples, and what it finds becomes an `@example`.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
