"""Settings for all tests: properties search the same examples in each run.

HYPOTHESIS_PROFILE=search tries new and more ones, to look for what nobody has thought of yet.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile(
    "search", max_examples=5000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# A test run that is ended ends its daemons first, as with Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)
