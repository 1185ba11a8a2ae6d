"""Conditions on a row, in Python's words: `in_features % blocksize != 0 and not nested`, `kappa < 320`.

Of Python there are names of fields of its config and of sizes of its error, constants, `*`, `%`, comparisons, `and`,
`or` and `not`. A condition is read by Python's parser and never run by it.
"""

import ast
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

from accuracy.case import Embedding4bitRelation, Linear4bitRelation, Linear8bitRelation
from reports.columns import SIZES

FIELDS: Final = frozenset(
    field.name for kind in (Linear4bitRelation, Linear8bitRelation, Embedding4bitRelation) for field in fields(kind)
)
"""What a config may name; the other kinds of layers and relations have some of these."""

STORAGE_BYTES: Final = {"uint8": 1, "float16": 2, "bfloat16": 2, "float32": 4}
"""Size of an item of each `quant_storage`."""

NAMES: Final = FIELDS | {"device", "rank", "storage_bytes", *SIZES}
"""What a condition may name: fields, the row's device, the input's rank, the bytes of a storage item, and sizes."""

CONFIGS: Final = 1 << 14
"""How many configs are kept: failing rows of one config come many times, one a device and quantity."""

Fields: TypeAlias = Mapping[str, Any]
Term: TypeAlias = Callable[[Fields], Any]
"""A part of a condition. It raises KeyError, TypeError or ZeroDivisionError for a row that it does not fit."""


def holds(condition: str, config: str, device: str, sizes: Mapping[str, float]) -> bool:
    """Whether a row of this config, as JSON, on this device, with an error of these `SIZES`, meets a condition.

    A config that is broken, lacks a field of the condition or has another kind of value there does not, whatever the
    rest of it says; nor does a row without a size of the condition.

    Raises:
        ValueError: if this is no condition.
    """
    term = read(condition)
    try:
        measured = {name: abs(sizes[name]) for name in SIZES if name in sizes}
        return _truth(term({**_fields(config), **measured, "device": device}))
    except (KeyError, TypeError, ZeroDivisionError):
        return False


@cache
def read(condition: str) -> Term:
    """What a condition asks of the fields of a row.

    Raises:
        ValueError: if it is no expression, or holds something that no condition may, such as a name that no config has.
    """
    try:
        tree = ast.parse(condition, mode="eval")
    except SyntaxError as error:
        raise ValueError(f"{condition!r} is no expression: {error.msg}") from error
    return _term(tree.body)


def _term(node: ast.expr) -> Term:
    match node:
        case ast.Name(id=name) if name in NAMES:
            return operator.itemgetter(name)
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return lambda _: value
        case ast.BinOp(left=left, op=ast.Mult() | ast.Mod() as sign, right=right):
            return _calculated(operator.mul if isinstance(sign, ast.Mult) else operator.mod, _term(left), _term(right))
        case ast.Compare(left=left, ops=signs, comparators=rights) if RELATIONS.keys() >= set(map(type, signs)):
            return _compared([RELATIONS[type(sign)] for sign in signs], [_term(part) for part in (left, *rights)])
        case ast.BoolOp(op=sign, values=values):
            return _joined(all if isinstance(sign, ast.And) else any, [_term(part) for part in values])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _term(operand)
            return lambda row: not _truth(inner(row))
    raise ValueError(
        f"{ast.unparse(node)!r} has no place in a condition; wanted are *, %, comparisons, and, or, not, constants and "
        f"the names {', '.join(sorted(NAMES))}"
    )


def _calculated(function: Callable[[int, int], int], left: Term, right: Term) -> Term:
    return lambda row: function(_whole(left(row)), _whole(right(row)))


def _compared(relations: Sequence[Callable[[Any, Any], bool]], terms: Sequence[Term]) -> Term:
    def term(row: Fields) -> bool:
        values = [part(row) for part in terms]
        held = [relation(*pair) for relation, *pair in zip(relations, values, values[1:], strict=False)]
        return all(held)

    return term


def _joined(function: Callable[[list[bool]], bool], terms: Sequence[Term]) -> Term:
    return lambda row: function([_truth(part(row)) for part in terms])  # all of them: one that does not fit tells


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):  # text has a % of its own
        raise TypeError(f"{value!r} is no whole number")
    return value


def _equal(left: Any, right: Any) -> bool:
    if left is not None and right is not None and _kind(left) is not _kind(right):
        raise TypeError(f"{left!r} and {right!r} are of two kinds")
    return bool(left == right)


def _ordered(function: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def relation(left: Any, right: Any) -> bool:
        if not _kind(left) is _kind(right) is float:
            raise TypeError(f"{left!r} and {right!r} have no order")
        return function(left, right)

    return relation


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


RELATIONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: _equal,
    ast.Is: _equal,
    ast.NotEq: lambda left, right: not _equal(left, right),
    ast.IsNot: lambda left, right: not _equal(left, right),
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
}


@lru_cache(maxsize=CONFIGS)
def _fields(config: str) -> Fields:
    """What a condition may ask of a config; nothing of one that is broken."""
    try:
        written = json.loads(config)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(written, dict):
        return {}
    found = {name: written[name] for name in FIELDS & written.keys()}
    batch, storage = written.get("batch"), written.get("quant_storage")
    if isinstance(batch, list):
        found["rank"] = len(batch) + 1
    if isinstance(storage, str) and storage in STORAGE_BYTES:
        found["storage_bytes"] = STORAGE_BYTES[storage]
    return found
