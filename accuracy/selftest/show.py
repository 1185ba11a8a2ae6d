"""The kill matrix on the screen: a table on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Mapping
from typing import Any

from accuracy.selftest import matrix


def table(found: Mapping[str, Any]) -> None:
    """Prints every fault and the totals on standard output."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        columns = Table(*matrix.COLUMNS)
        for row in matrix.rows(found):
            columns.add_row(*row)
        Console().print(columns)
    else:
        sys.stdout.writelines("\t".join(row) + "\n" for row in (matrix.COLUMNS, *matrix.rows(found)))
    sys.stdout.writelines(line + "\n" for line in matrix.summary(found))
