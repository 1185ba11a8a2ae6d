"""Relations of tables: a table of torch keeps each of them, and one that is broken is seen."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accuracy.lookups import LOOKUPS

ROWS, DIM = 30, 16


class Table(nn.Embedding):
    """A table of torch, of rows that all differ."""

    def __init__(self) -> None:
        super().__init__(ROWS, DIM)
        self.weight.data = torch.arange(ROWS * DIM).reshape(ROWS, DIM) / 7


class Until(Table):
    """Right in the first call alone."""

    calls = 0

    def forward(self, index: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(index) * (1 if self.calls == 1 else 2)


class Where(Table):
    """Rows twice as large where `wrong(index)`."""

    def __init__(self, wrong: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, index: Tensor) -> Tensor:
        return super().forward(index) * (2 if self.wrong(index) else 1)


class ByPlace(Table):
    """Rows that depend on where they were asked for."""

    def forward(self, index: Tensor) -> Tensor:
        places = torch.arange(index.numel()).reshape(*index.shape, 1)
        return super().forward(index) + places


class Copied(Table):
    """A copy has the rows in another order."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Copied":
        other = Copied()
        other.weight.data = self.weight.data.flip(0)
        return other


class InMemoryOrder(Table):
    """Reads row numbers as if they lay one after the other."""

    def forward(self, index: Tensor) -> Tensor:
        return super().forward(index.as_strided(index.shape, (index.shape[-1], 1)) if index.dim() > 1 else index)


class AfterNone(Table):
    """Forgets its rows when it is asked for none."""

    def forward(self, index: Tensor) -> Tensor:
        if not index.numel():
            self.weight.data.zero_()
        return super().forward(index)


class Clears(Table):
    """Writes into the row numbers."""

    def forward(self, index: Tensor) -> Tensor:
        rows = super().forward(index)
        index.zero_()
        return rows


class OneBuffer(Table):
    """All lookups of one shape are in the same memory."""

    memory: Tensor | None = None

    def forward(self, index: Tensor) -> Tensor:
        rows = super().forward(index)
        self.memory = torch.empty_like(rows) if self.memory is None else self.memory
        return self.memory.copy_(rows)


BROKEN: dict[str, Callable[[], Table]] = {
    "same_row": ByPlace,
    "index_order": ByPlace,
    "repeat": Until,
    "deep_copy": Copied,
    "device_round_trip": Copied,
    "narrow_index": lambda: Where(lambda index: index.dtype == torch.int32),
    "transposed_index": InMemoryOrder,
    "no_rows": AfterNone,
    "index_kept": Clears,
    "kept_output": OneBuffer,
}


def apart(name: str, table: Table) -> float:
    """The largest difference that the relation of that name finds."""
    index = torch.tensor([[3, 1, 29], [0, 7, 3]])
    with torch.no_grad():
        pair = LOOKUPS[name](table, index)
    assert pair.actual.shape == pair.expected.shape
    return float((pair.actual - pair.expected).abs().max())


def test_every_relation_has_a_table_that_breaks_it() -> None:
    assert BROKEN.keys() == LOOKUPS.keys()


@pytest.mark.parametrize("name", LOOKUPS)
def test_a_table_keeps_the_relation_and_a_broken_one_is_seen(name: str) -> None:
    assert apart(name, Table()) == 0
    assert apart(name, BROKEN[name]()) > 0
