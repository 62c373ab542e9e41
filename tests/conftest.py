"""Settings for all tests of the harness."""

from __future__ import annotations

from hypothesis import settings

# A loaded machine makes any example slow: no test may fail by the clock.
settings.register_profile("hil", deadline=None)
settings.load_profile("hil")
