"""The rows of many runs as one: looked through for what judging needs, then copied with what was judged.

Neither step holds more than the few columns that verdicts are made of, and the rows of one run.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accuracy import duplicates, judge, lists, schemas, store, storing, tables
from accuracy.case import EXPLORED
from accuracy.files import StoreError
from accuracy.limits import Limits
from accuracy.merge import Source
from accuracy.quarantine import Taste
from accuracy.rows import columns

JUDGED: Final = ("broken", "warned", "explained", *storing.JUDGED)
"""What judging says of a row."""

KEPT: Final = ("id", "case", "origin", "device", "dtype", "stage", "quantity", "count", *JUDGED)
"""What verdicts are made of, besides the strata."""

WORDS: Final = ("observed", "lower", "lower_ratio")
"""What judging looks at besides, whatever the limits are about."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What judging gave for the rows of all runs, one run after the other, then the findings.

    `rows` has the columns `KEPT` and `strata`; `run` is the number of each row's run, that of the findings one more;
    `kept` says which rows count; `findings` are rows that no run has: measurements that disagree.
    """

    rows: pd.DataFrame
    run: NDArray[np.int64]
    kept: NDArray[np.bool_]
    findings: pa.Table


@dataclass(frozen=True, kw_only=True)
class Looked:
    """One run, looked through: its plan, and of its rows the columns `KEPT` and `strata`, judged."""

    source: Source
    plan: pd.DataFrame
    rows: pa.Table


def manifests(folders: Sequence[Path]) -> tuple[dict[Path, dict[str, Any]], dict[str, str]]:
    """The manifests of the runs that have one which can be trusted, and why the others have none."""
    found: dict[Path, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    for folder in dict.fromkeys(folders):
        try:
            found[folder] = store.read_manifest(folder)
        except StoreError as error:
            refused[folder.name] = str(error)
    return found, refused


def look(source: Source, by: Limits, taste: Taste) -> Looked:
    """Reads one run with distrust and judges its rows, under the names that its devices have in the whole.

    Raises:
        StoreError: if it is damaged, or has no outcome for a case of its plan on a device that it names.
    """
    wanted = {*KEPT, *WORDS, *(limit.metric for limit in by.limits), "strata"}
    names = [name for name in schemas.OBSERVATION.names if name in wanted]
    planned, table = store.read_parts(source.folder, source.manifest, names, taste)
    plan = planned.to_pandas()
    table = _renamed(_numbered(table), source)
    rows = table.drop_columns(["strata"]).to_pandas()
    _check_outcomes(source, plan, rows)
    return Looked(source=source, plan=plan, rows=_kept(table, judge.judge_rows(rows, by)))


def _numbered(table: pa.Table) -> pa.Table:
    """Each column in one piece; texts as numbers of texts, and the names of strata as one text."""
    names: Any = pc.binary_join(table["strata"], lists.APART)
    table = table.set_column(table.schema.get_field_index("strata"), "strata", names)
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table[number].combine_chunks().dictionary_encode()
            table = table.set_column(number, field.name, texts)
    return table


def _renamed(table: pa.Table, source: Source) -> pa.Table:
    """The rows under the names that devices have in the whole."""
    there: Any = table["device"].combine_chunks()
    names = [source.names.get(name, name) for name in there.dictionary.to_pylist()]
    devices = pa.DictionaryArray.from_arrays(there.indices, pa.array(names, type=pa.string()))
    return table.set_column(table.schema.get_field_index("device"), "device", devices)


def _check_outcomes(source: Source, plan: pd.DataFrame, rows: pd.DataFrame) -> None:
    """What a run was asked for and has no row of, did not run and says nothing of it."""
    planned = pd.Index(plan.loc[plan["origin"] != EXPLORED, "id"])
    identity, device = (
        planned.get_indexer(rows["id"].cat.categories),
        pd.Index(source.names.values()).get_indexer(rows["device"].cat.categories),
    )
    one, other = identity[rows["id"].cat.codes], device[rows["device"].cat.codes]
    there = np.unique((one * len(source.names) + other)[(one >= 0) & (other >= 0)])
    lacking = len(planned) * len(source.names) - len(there)
    if lacking:
        raise StoreError(f"{source.folder} has no outcome for {lacking} of its cases; ask for another copy")


def _kept(table: pa.Table, judged: pd.DataFrame) -> pa.Table:
    """The columns `KEPT` and `strata` of rows as `_numbered` gives them, with what judging said of them."""
    columns: list[Any] = [_array(judged[name]) if name in JUDGED else table[name] for name in KEPT]
    return pa.table([*columns, table["strata"]], names=[*KEPT, "strata"])


def _array(column: "pd.Series[Any]") -> Any:
    """A column of judged rows for Arrow, texts as numbers of texts. NaN stays NaN, as where rows are stored."""
    values = column.to_numpy()
    if values.dtype == object:
        return pa.array(values, type=pa.string()).dictionary_encode()
    return pa.array(values, from_pandas=False)


def gathered(looked: Sequence[Looked], by: Limits) -> Gathered:
    """The rows of all runs, with one outcome for what several have measured, and the findings of where they disagree.

    Raises:
        StoreError: if a run is no longer what it was when it was looked through.
    """
    number = np.repeat(np.arange(len(looked)), [each.rows.num_rows for each in looked])
    rows = _frame([each.rows for each in looked])
    several = duplicates.in_several(rows, number)
    kept = np.ones(len(rows), dtype=bool)
    findings = schemas.OBSERVATION.empty_table()
    if several.any():
        parts = []
        for run, each in enumerate(looked):
            mine = several[number == run]
            if mine.any():
                parts.append(_whole(each, duplicates.NEEDED, mine).to_pandas())
        good, found = duplicates.settle(pd.concat(parts, ignore_index=True), number[several])
        kept[several] = good
        if found:
            judged = judge.judge_rows(tables.observations([columns(found)]), by)
            findings = storing.typed(judged, schemas.OBSERVATION)
            rows = _frame([*(each.rows for each in looked), _kept(_numbered(findings), judged)])
            number = np.append(number, np.full(len(found), len(looked)))
            kept = np.append(kept, np.ones(len(found), dtype=bool))
    return Gathered(rows=rows, run=number, kept=kept, findings=findings)


def _frame(tables: Sequence[pa.Table]) -> pd.DataFrame:
    """Tables one after the other; texts as categories, those of strata tuples of names."""
    whole = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    frame = whole.to_pandas()
    tuples = pd.Index(lists.named(frame["strata"].cat.categories), tupleize_cols=False)
    frame["strata"] = pd.Categorical.from_codes(frame["strata"].cat.codes, tuples)
    return frame


def _whole(looked: Looked, names: Sequence[str], kept: NDArray[np.bool_]) -> pa.Table:
    """Columns of a run's rows that are kept, as stored but for their judgement and the names of devices."""
    manifest, table = store.read_observations(looked.source.folder, names)
    if manifest["hash"] != looked.source.manifest["hash"]:
        raise StoreError(f"{looked.source.folder} has changed since it was looked through; merge again")
    for name in names:
        if name in {"device", *storing.JUDGED}:
            field = schemas.OBSERVATION.field(name)
            table = table.set_column(table.schema.get_field_index(name), field, looked.rows[name].cast(field.type))
    return table if kept.all() else table.filter(pa.array(kept))


def copy(looked: Sequence[Looked], found: Gathered, write: Callable[[pa.Table], None]) -> None:
    """Writes the rows that count, run after run, then the findings.

    Raises:
        StoreError: if a run is no longer what it was when it was looked through.
    """
    ends = np.cumsum([0, *(each.rows.num_rows for each in looked)]).tolist()

    def whole(run: int) -> pa.Table:
        return _whole(looked[run], schemas.OBSERVATION.names, found.kept[ends[run] : ends[run + 1]])

    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(whole, run) for run in range(min(1, len(looked)))]
        for run in range(len(looked)):
            table = ahead.pop().result()
            if run + 1 < len(looked):
                ahead.append(pool.submit(whole, run + 1))
            write(table)
    write(found.findings)
