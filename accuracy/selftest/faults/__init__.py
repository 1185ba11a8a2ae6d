"""Every planted fault, by area. The list was written before anyone looked at what the judge finds.

A fault that is added afterwards says so (`added_later`) and is scored apart.
"""

from accuracy.selftest.fault import Fault
from accuracy.selftest.faults import (
    autocast,
    bias,
    calls,
    compute,
    decode,
    embeddings,
    encode,
    gradients,
    int8,
    keeping,
    nested,
    nondeterminism,
    outliers,
    sizes,
    special,
    state,
)

FAULTS: tuple[Fault, ...] = (
    *encode.FAULTS,
    *decode.FAULTS,
    *compute.FAULTS,
    *bias.FAULTS,
    *gradients.FAULTS,
    *int8.FAULTS,
    *outliers.FAULTS,
    *nested.FAULTS,
    *embeddings.FAULTS,
    *state.FAULTS,
    *special.FAULTS,
    *nondeterminism.FAULTS,
    *calls.FAULTS,
    *autocast.FAULTS,
    *sizes.FAULTS,
    *keeping.FAULTS,
)
