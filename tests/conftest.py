"""What every test runs under: Hypothesis without a clock or a memory, and torch as a worker has it."""

import os

from hypothesis import settings

from accuracy.devices import SINGLE_THREAD

os.environ.update(SINGLE_THREAD)
settings.register_profile("tests", derandomize=True, deadline=None, database=None)
settings.register_profile("long", parent=settings.get_profile("tests"), max_examples=2000)
settings.load_profile("tests")
