"""What the syntax of a Python module says of it, without running it."""

import ast
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

MISSING: Final = object()
"""Stands for what a name does not stand for."""

_BY: Final = ["register_kernel"]


def statements(module: ModuleType) -> list[ast.stmt]:
    """What a module is written as; nothing where its source cannot be read."""
    try:
        return ast.parse(inspect.getsource(module)).body
    except (OSError, TypeError):
        return []


def definition(function: FunctionType) -> ast.FunctionDef | None:
    """How a function is written; None where that cannot be read."""
    try:
        written = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError):  # made at run time, or a lambda in the middle of an expression
        return None
    return written if isinstance(written, ast.FunctionDef) else None


def registered(statements: Iterable[ast.stmt]) -> Iterator[tuple[str, str, ast.expr | ast.FunctionDef]]:
    """Operator, device and kernel of every `register_kernel`, written above a function or called with one."""
    for statement in statements:
        match statement:
            case ast.FunctionDef(decorator_list=decorators):
                yield from ((*named, statement) for each in decorators if (named := _registration(each)))
            case ast.Expr(value=ast.Call(func=function, args=[kernel, *_])) if named := _registration(function):
                yield (*named, kernel)
            case ast.If(body=body, orelse=orelse) | ast.Try(body=body, orelse=orelse):
                yield from registered([*body, *orelse])


def _registration(node: ast.expr) -> tuple[str, str] | None:
    """The operator and device of a call of `register_kernel`; no device is `default`."""
    match node:
        case ast.Call(func=by, args=[ast.Constant(value=str(name)), ast.Constant(value=to)]) if dotted(by)[-1:] == _BY:
            return name.partition("::")[2], str(to or "default")
    return None


def dotted(node: ast.AST) -> list[str]:
    """The names of `a.b.c` in order; nothing if it begins otherwise than with a name."""
    match node:
        case ast.Name(id=name):
            return [name]
        case ast.Attribute(value=value, attr=name):
            inner = dotted(value)
            return [*inner, name] if inner else []
    return []


def imports(function: ast.FunctionDef, module: ModuleType) -> Iterator[tuple[str, Any]]:
    """What a function imports from modules that are loaded, by the name it has there."""
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom):
            name = importlib.util.resolve_name("." * node.level + (node.module or ""), module.__package__)
            for alias in node.names:
                found = getattr(sys.modules.get(name), alias.name, MISSING)
                yield alias.asname or alias.name, found


def compared(device_type: str, op: ast.cmpop, right: ast.expr) -> bool | None:
    """`device_type op right` for texts and collections of texts; None for anything else."""
    try:
        value = ast.literal_eval(right)
    except ValueError:
        return None
    match op:
        case ast.Eq() | ast.NotEq():
            return bool((device_type == value) == isinstance(op, ast.Eq))
        case ast.In() | ast.NotIn():
            return bool((device_type in value) == isinstance(op, ast.In))
    return None
