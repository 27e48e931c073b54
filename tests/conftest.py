"""Settings that every test shares."""

import os

from hypothesis import settings

# Compiled kernels make the first example slow and the rest fast, so no deadline. CI draws the same examples each run.
settings.register_profile("default", deadline=None, max_examples=20)
settings.register_profile("ci", deadline=None, max_examples=20, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
