"""Every experiment, by name, in the order in which reports show them."""

from accuracy.case import Case
from accuracy.cases import embedding, linear_4bit, linear_8bit, relations

_FAMILIES = (linear_4bit.CASES, linear_8bit.CASES, embedding.CASES, relations.CASES)

CASES: dict[str, Case] = {case.name: case for family in _FAMILIES for case in family}
