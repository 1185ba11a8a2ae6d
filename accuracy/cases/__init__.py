"""Every experiment, by name, in the order in which reports show them."""

from accuracy.case import Case
from accuracy.cases import (
    embedding,
    linear_4bit,
    linear_8bit,
    relations,
    upstream_dense,
    upstream_embedding,
    upstream_training,
)

_UPSTREAM = sorted(
    (*upstream_dense.CASES, *upstream_training.CASES, *upstream_embedding.CASES), key=lambda case: case.row or 0
)
_FAMILIES = (linear_4bit.CASES, linear_8bit.CASES, embedding.CASES, relations.CASES, _UPSTREAM)

CASES: dict[str, Case] = {case.name: case for family in _FAMILIES for case in family}
