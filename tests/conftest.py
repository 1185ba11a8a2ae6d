"""What every test runs under: Hypothesis without a clock or a memory, and torch as a worker has it."""

import os
import signal

from hypothesis import settings

from accuracy.devices import SINGLE_THREAD

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so does a shell's `&`, and what a test starts would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.update(SINGLE_THREAD)
os.environ["XDG_DATA_HOME"] = f"{os.devnull}/none"  # the baseline of whoever runs the tests is nobody's here
settings.register_profile("tests", derandomize=True, deadline=None, database=None)
settings.register_profile("long", parent=settings.get_profile("tests"), max_examples=2000)
settings.load_profile("tests")
