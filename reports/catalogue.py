"""The experiments and the limits as lines of text, for a terminal."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from accuracy.case import Case, canonical_json
from accuracy.limits import Limits
from reports.features import points
from reports.words import counted


def of_cases(cases: Iterable[Case]) -> Iterator[str]:
    """Name, claim, strata and published points of each; where upstream has a row of it, the points in full."""
    for case in cases:
        yield case.name if case.row is None else f"{case.name}  (row {case.row} of upstream's behaviours)"
        yield f"    {case.claim}"
        strata, published = (
            counted(len(case.strata), "stratum", "strata"),
            counted(len(case.published), "published point"),
        )
        yield f"    {strata}, {published}"
        if case.row is not None:
            common, *own = points([json.loads(canonical_json(asdict(config))) for config in case.published])
            yield f"    published: {common}"
            yield from (f"        {line}" for line in own)


def of_limits(known: Limits) -> Iterator[str]:
    """Every number that decides, with its basis and where it is explained."""
    yield f"limits {known.hash}"
    for name, value in (vars(known.bounds) | vars(known.calibration) | vars(known.change)).items():
        yield f"{name} = {value:g}"
    for each in known.published:
        sizes = f"{each.atol:g} + {each.of_mean:g} mean|r| + {each.rtol:g} |r|"
        exempt = f"{each.outliers} and {each.outlier_share:g} of the elements exempt"
        yield f"{each.id}: |y - r| at most {sizes}, {exempt}; row {each.row} {each.layer} {each.dtype} {each.quantity}"
        yield f"    {each.basis} (docs/method.md#upstream-behaviours)"
    for limit in known.limits:
        where = f"{limit.case} {limit.device} {limit.dtype} {limit.stage}/{limit.quantity}"
        yield f"{limit.id}: {limit.metric} in [{limit.at_least:g}, {limit.at_most:g}], else {limit.verdict}; {where}"
        yield f"    {limit.basis} (docs/method.md#{limit.method})"
