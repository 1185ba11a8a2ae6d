"""The library's source, read for what each function can call: operators, native symbols and steps of Python.

Nothing is run. Calls are followed through the modules of the library. A test that asks only for the type of the
device, or whether a constant of the module is None, is decided; every other may go either way, save that a
chain of `elif` without `else` is taken to name every possibility. So more can be found than any input reaches,
and nothing is missed but functions that are picked in a way that the source does not show.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from types import FunctionType, ModuleType
from typing import Any, Final

from accuracy import syntax
from accuracy.path import NO_KERNEL

BOOKKEEPING: Final = frozenset({"get_context", "cget_managed_ptr", "cprefetch", "has_avx512bf16_cpu"})
"""Native functions that compute nothing: contexts, memory, what the processor can. Some run only once a process."""

_OPERATORS: Final = ["torch", "ops", "bitsandbytes"]
_MISSING: Final = syntax.MISSING


@dataclass(frozen=True, kw_only=True)
class Run:
    """What running a piece of code can do: `leads` are the steps it can call.

    It may go on, or return, without having called one (`bare`, `bare_return`) or after one (`led`, `led_return`).
    """

    leads: frozenset[str] = frozenset()
    bare: bool = False
    led: bool = False
    bare_return: bool = False
    led_return: bool = False

    def __or__(self, other: "Run") -> "Run":
        """Either of two."""
        return Run(
            leads=self.leads | other.leads,
            bare=self.bare or other.bare,
            led=self.led or other.led,
            bare_return=self.bare_return or other.bare_return,
            led_return=self.led_return or other.led_return,
        )

    def then(self, other: "Run") -> "Run":
        """This and, where it goes on, the other."""
        if not self.bare and not self.led:
            return self
        return Run(
            leads=self.leads | other.leads,
            bare=self.bare and other.bare,
            led=(self.led and other.bare) or other.led,
            bare_return=self.bare_return or (self.bare and other.bare_return),
            led_return=self.led_return or (self.led and other.bare_return) or other.led_return,
        )

    @property
    def call(self) -> "Run":
        """What calling a function can do whose body this is: where it returns, the caller goes on."""
        return Run(leads=self.leads, bare=self.bare or self.bare_return, led=self.led or self.led_return)


NOTHING: Final = Run(bare=True)


def lead(step: str) -> Run:
    """A call of one step. Nothing comes after an operator that has no kernel: it raises."""
    return Run(leads=frozenset({step}), led=not step.endswith(f":{NO_KERNEL}"))


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Names as a function sees them: its module, what it imports itself, and the class of `self`."""

    module: ModuleType
    owner: Any = None
    imported: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False, kw_only=True)
class Source:
    """The source of one library as one device takes it.

    `backend(operator)` says who serves an operator there. `native` is the library's object for its native
    functions; what is named on it is collected in `symbols`. `frames` are the functions of Python that are
    steps, by themselves; a call of one is not followed. `unset` are attributes that are never true there.
    """

    library: str
    device_type: str
    backend: Callable[[str], str]
    native: Any
    frames: Mapping[Any, str]
    unset: frozenset[str] = frozenset()
    symbols: set[str] = field(default_factory=set)
    _kernels: dict[tuple[str, str], list[tuple[ast.expr | ast.FunctionDef, ModuleType]]] = field(default_factory=dict)
    _written: dict[FunctionType, ast.FunctionDef | None] = field(default_factory=dict)
    _known: dict[ast.FunctionDef, Run] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, module in list(sys.modules.items()):
            inside = name.split(".")
            if inside[0] == self.library and ("backends" in inside or inside[-1] == "_ops"):
                for operator, device, kernel in syntax.registered(syntax.statements(module)):
                    self._kernels.setdefault((operator, device), []).append((kernel, module))

    def kernel(self, operator: str, backend: str) -> Run | None:
        """What the kernels can do that are registered for an operator and a device; None if none is."""
        found = self._kernels.get((operator, backend))
        return None if found is None else _either(self._kernel(each, module) for each, module in found)

    def function(self, function: Any, owner: Any = None) -> Run:
        """What a function can do, `owner` being its class. One that the library did not write calls nothing."""
        plain = inspect.unwrap(function)
        module = sys.modules.get(getattr(plain, "__module__", None) or "")
        if not isinstance(plain, FunctionType) or module is None or not self._ours(module):
            return NOTHING
        if plain not in self._written:
            self._written[plain] = syntax.definition(plain)
        node = self._written[plain]
        return NOTHING if node is None else self._body(node, module, owner)

    def _kernel(self, kernel: ast.expr | ast.FunctionDef, module: ModuleType) -> Run:
        if isinstance(kernel, ast.FunctionDef):
            return self._body(kernel, module, None)
        return self.function(self._named(kernel, Scope(module=module)))

    def _body(self, node: ast.FunctionDef, module: ModuleType, owner: Any) -> Run:
        if node not in self._known:
            self._known[node] = NOTHING  # for a function that calls itself
            scope = Scope(module=module, owner=owner, imported=dict(syntax.imports(node, module)))
            self._known[node] = self._block(node.body, scope).call
        return self._known[node]

    def _block(self, statements: Iterable[ast.stmt], scope: Scope) -> Run:
        run = NOTHING
        for statement in statements:
            run = run.then(self._statement(statement, scope))
        return run

    def _statement(self, statement: ast.stmt, scope: Scope) -> Run:
        match statement:
            case ast.If():
                run = self._branches(statement, scope, chained=False)
            case ast.Return(value=value):
                given = NOTHING if value is None else self._expression(value, scope)
                run = Run(leads=given.leads, bare_return=given.bare, led_return=given.led)
            case ast.Raise():
                run = Run()
            case ast.For(iter=header, body=body) | ast.While(test=header, body=body):
                run = self._expression(header, scope).then(NOTHING | self._block(body, scope))
            case ast.With(items=items, body=body):
                entered = _sequence(self._expression(item.context_expr, scope) for item in items)
                run = entered.then(self._block(body, scope))
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody):
                tried = _either(self._block(each, scope) for each in ([*body, *orelse], *(h.body for h in handlers)))
                run = tried.then(self._block(finalbody, scope))
            case ast.FunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
                run = NOTHING
            case _:
                run = self._expression(statement, scope)
        return run

    def _branches(self, node: ast.If, scope: Scope, *, chained: bool) -> Run:
        decided = self._decided(node.test, scope)
        ways = [] if decided is False else [self._block(node.body, scope)]
        if decided is not True:
            match node.orelse:
                case [ast.If() as following] if following.col_offset == node.col_offset:  # written as `elif`
                    ways.append(self._branches(following, scope, chained=True))
                case [] if chained and decided is None:
                    pass
                case other:
                    ways.append(self._block(other, scope))
        return self._expression(node.test, scope).then(_either(ways))

    def _expression(self, node: ast.AST, scope: Scope) -> Run:
        match node:
            case ast.Lambda():
                return NOTHING
            case ast.IfExp(test=test, body=body, orelse=orelse):
                either = self._expression(body, scope) | self._expression(orelse, scope)
                return self._expression(test, scope).then(either)
            case ast.BoolOp(values=[first, *rest]):
                later = (NOTHING | self._expression(each, scope) for each in rest)
                return _sequence([self._expression(first, scope), *later])
            case ast.Attribute():
                step = self._step(node, scope)
                return lead(step) if step else self._expression(node.value, scope)
            case ast.Call():
                inner = _sequence(self._expression(child, scope) for child in ast.iter_child_nodes(node))
                return inner.then(self._call(node, scope))
        return _sequence(self._expression(child, scope) for child in ast.iter_child_nodes(node))

    def _call(self, call: ast.Call, scope: Scope) -> Run:
        """What a call leads to, besides what evaluating it does."""
        match call:
            case ast.Call(func=ast.Attribute(value=owner, attr="apply")):
                function = getattr(self._named(owner, scope), "forward", _MISSING)
            case ast.Call(func=ast.Name(id="getattr"), args=[owner, name, *_]) if self._is_native(owner, scope):
                return lead(self._symbol(str(name.value) if isinstance(name, ast.Constant) else ast.unparse(call)))
            case _:
                function = self._named(call.func, scope)
        if function is _MISSING or inspect.isclass(function):
            return NOTHING
        frame = self.frames.get(inspect.unwrap(function)) if callable(function) else None
        return self.function(function, scope.owner) if frame is None else lead(frame)

    def _step(self, node: ast.Attribute, scope: Scope) -> str:
        """The operator or symbol that an attribute names, or nothing."""
        names = syntax.dotted(node)
        if names[:3] == _OPERATORS and len(names) > 3:  # noqa: PLR2004  the namespace has three names
            operator = ".".join(names[3:]).removesuffix(".default")
            return f"{operator}:{self.backend(operator)}"
        return self._symbol(node.attr) if self._is_native(node.value, scope) and node.attr not in BOOKKEEPING else ""

    def _is_native(self, node: ast.AST, scope: Scope) -> bool:
        return self.native is not None and self._named(node, scope) is self.native

    def _symbol(self, name: str) -> str:
        self.symbols.add(name)
        return name

    def _named(self, node: ast.AST, scope: Scope) -> Any:
        """What a name stands for when the function runs, if it is the library's; else `_MISSING`."""
        match node:
            case ast.Name(id="self" | "cls") if scope.owner is not None:
                return scope.owner
            case ast.Name(id=name):
                return scope.imported.get(name, vars(scope.module).get(name, _MISSING))
            case ast.Attribute(value=value, attr=name):
                owner = self._named(value, scope)
                home = owner if isinstance(owner, ModuleType) else sys.modules.get(getattr(owner, "__module__", ""))
                inside = isinstance(owner, ModuleType) or inspect.isclass(owner)
                return getattr(owner, name, _MISSING) if inside and home and self._ours(home) else _MISSING
        return _MISSING

    def _decided(self, test: ast.expr, scope: Scope) -> bool | None:
        """The value of a test that the device or a constant of the module decides; None if it may be either."""
        match test:
            case ast.BoolOp(op=op, values=values):
                known = [self._decided(value, scope) for value in values]
                decisive = isinstance(op, ast.Or)
                return decisive if decisive in known else None if None in known else not decisive
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                decided = self._decided(operand, scope)
                return None if decided is None else not decided
            case (
                ast.Attribute(attr=name) | ast.Call(args=[_, ast.Constant(value=name), _])
            ):  # or getattr, with a default
                return False if name in self.unset else None
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                if syntax.dotted(left)[-2:] == ["device", "type"]:
                    return syntax.compared(self.device_type, op, right)
                value = vars(scope.module).get(left.id, _MISSING) if isinstance(left, ast.Name) else _MISSING
                if value is not _MISSING and isinstance(right, ast.Constant) and right.value is None:
                    return (value is None) == isinstance(op, ast.Is)
        return None

    def _ours(self, module: ModuleType) -> bool:
        return module.__name__.partition(".")[0] == self.library


def _sequence(runs: Iterable[Run]) -> Run:
    return reduce(Run.then, runs, NOTHING)


def _either(runs: Iterable[Run]) -> Run:
    return reduce(Run.__or__, runs, Run())
