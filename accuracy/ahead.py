"""What a worker on an accelerator needs, but for the library: imported by the fork server, once for all of them.

The library's import initialises an accelerator, after which a process cannot be forked; so each worker imports it
itself. Nearly all of that import is torch's compiler, which the library's decorators ask for: 11 s beside one H200.
"""

from contextlib import suppress

import torch

import accuracy.cases
import accuracy.inputs
import accuracy.metrics  # noqa: F401  loaded for the children

with suppress(Exception):  # what is missing here the library misses again, and then it is said
    torch.compile(lambda: None)  # imports the compiler and compiles nothing
