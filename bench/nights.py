"""Tasks of a night, for what is measured over the mix of one."""

import random
from functools import cache
from typing import Final

from accuracy import plan
from accuracy.case import Task
from accuracy.cases import CASES

SEED: Final = 20260101


def night(count: int) -> list[Task]:
    """So many tasks of a night's plan, of all cases and strata; of more, the first are those of fewer."""
    return _shuffled()[:count]


@cache
def _shuffled() -> list[Task]:
    tasks = plan.make(list(CASES.values()), plan.PROFILES["nightly"], SEED)
    return random.Random(SEED).sample(tasks, len(tasks))  # noqa: S311  no secret
