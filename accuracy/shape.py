"""The shape of the JSON that a run folder holds, and where a file from outside first differs from it."""

from typing import Any, Final

NUMBER: Final = (int, float)
TEXTS: Final = [str]
TEXT_BY_NAME: Final = {"*": str}

MANIFEST: Final = {
    "created": str,
    "profile": str,
    "seed": int,
    "accuracy": str,
    "devices": {"requested": TEXTS, "found": TEXT_BY_NAME, "missing": TEXT_BY_NAME},
    "versions": TEXT_BY_NAME,
    "environment": {"*": {}},
    "unusable": TEXT_BY_NAME,
    "incidents": TEXTS,
    "limits_hash": str,
    "bounds": {"*": NUMBER},
    "plan_hash": str,
    "plan_size": int,
    "cases": {"*": {"layer": str, "claim": str, "strata": TEXTS}},
    "duration_s": NUMBER,
}
PARTS: Final = {
    "asked": str,
    "plan_hash": str,
    "plan_size": int,
    "held": {"*": TEXTS},
    "refused": TEXT_BY_NAME,
}
"""The manifest's entry `parts`, where it has one."""

SUMMARY: Final = {
    "verdict": str,
    "exit_code": int,
    "counts": {"*": int, "cells": int, "cases": int, "observations": int, "elements": int},
    "reasons": [{"verdict": str, "case": str, "device": str, "stage": str, "quantity": str, "text": str}],
    "cells": [{}],
}
"""An object has these members and maybe more, `*` stands for each that it has; a list has elements of the one shape."""


def misfit(value: Any, shape: Any, place: str = "") -> str:
    """The first place where `value` has not the shape, in words; nothing if it has."""
    match value, shape:
        case list() as elements, [type() as kind] if {kind}.issuperset(map(type, elements)):
            return ""  # the longest there are, and most of a manifest
        case _:
            pass
    match shape:
        case dict():
            wanted, parts = "an object", list(shape.items())
        case [inner]:
            wanted, parts = (
                "a list",
                [(number, inner) for number in range(len(value) if isinstance(value, list) else 0)],
            )
        case _:
            kinds = shape if isinstance(shape, tuple) else (shape,)
            return "" if type(value) in kinds else _is(value, place, " or ".join(kind.__name__ for kind in kinds))
    if not isinstance(value, dict if wanted == "an object" else list):
        return _is(value, place, wanted)
    for name, inner in parts:
        for each in value if name == "*" else [name]:
            if isinstance(value, dict) and each not in value:
                return f"{place}{each} is missing"
            if found := misfit(value[each], inner, f"{place}{each}."):
                return found
    return ""


def _is(value: Any, place: str, wanted: str) -> str:
    return f"{place.rstrip('.') or 'it'} is {repr(value)[:60]}, and {wanted} is wanted"
