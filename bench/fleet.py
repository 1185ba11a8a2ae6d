"""Run folders of many machines and many nights, made from one real run: `python -m bench.fleet KIND RUN DIR ...`.

Nothing is measured. Every case gets new ids, every number moves a little, so that files are as large as real ones;
what a folder says of itself is true of it, and commands read it as any other.
"""

import argparse
import datetime
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from accuracy import judgement, plan, shards, store, storing
from accuracy.case import EXPLORED, short_hash
from accuracy.files import StoreError
from accuracy.limits import load
from accuracy.shards import Shard, Whole

MOVED: Final = (
    "abs_mean",
    "abs_p50",
    "abs_p99",
    "abs_max",
    "rel_p50",
    "rel_p99",
    "rel_max",
    "rel_fro",
    "sqnr_db",
    "kappa",
)
"""Numbers that no limit is about: moving them changes no verdict."""

BY: Final = load()


def dealt(base: store.Run, folder: Path, number: Shard, whole: Sequence[str]) -> None:
    """Stores one shard of a plan with the ids `whole`, whose tasks are those of `base` again and again."""
    rows = base.observations[base.observations["origin"] != EXPLORED]
    planned = base.plan[base.plan["origin"] != EXPLORED].reset_index(drop=True)
    mine = shards.places(len(whole), number)
    new = [whole[place] for place in mine]
    by_id = rows.groupby("id", sort=False).indices
    taken = [by_id[planned["id"][place % len(planned)]] for place in mine]
    ids = np.repeat(np.array(new, dtype=object), [len(each) for each in taken])
    manifest = base.manifest | {"plan_hash": plan.hash_of(new), "plan_size": len(new), "profile": "nightly"}
    if number.of > 1:
        devices = [*base.manifest["devices"]["found"], *base.manifest["devices"]["missing"]]
        whole_hash = plan.hash_of(whole)
        manifest["parts"] = shards.asked(number, Whole(whole_hash, len(whole)), devices)
    copies = rows.iloc[np.concatenate(taken)].assign(id=ids)
    _store(folder, manifest, planned.iloc[mine % len(planned)].assign(id=new), _moved(copies, number.number))


def on_another(base: store.Run, number: int) -> store.Run:
    """The run as an accelerator of its own hardware would have given it: `cuda`, as it is called where it is alone."""
    name, hardware = "cuda", f"generated accelerator {number}"
    was = next(iter(base.manifest["devices"]["found"]))
    renamed = {entry: {name: base.manifest[entry][was]} for entry in ("environment", "paths")}
    devices = {"requested": [name], "found": {name: hardware}, "missing": {}}
    rows = base.observations[base.observations["device"] == was]
    return replace(
        base,
        manifest=base.manifest | renamed | {"devices": devices},
        observations=rows.assign(device=name, device_name=hardware),
    )


def _ids(base: store.Run, rows: int) -> list[str]:
    """The ids of a plan that gives so many rows, if its tasks are those of `base` again and again."""
    ids = base.plan.loc[base.plan["origin"] != EXPLORED, "id"].tolist()
    tasks = round(rows * len(ids) / len(base.observations))
    return [
        ids[place] if place < len(ids) else short_hash([ids[place % len(ids)], place // len(ids)])
        for place in range(tasks)
    ]


def _moved(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rows whose numbers compress as those of other layers would."""
    noise = np.random.default_rng(seed)
    moved = {name: rows[name] * (1 + 1e-3 * noise.random(len(rows))) for name in MOVED}
    for name in ("sample_values", "sample_bounds"):
        values = [np.asarray(each) * (1 + 1e-12 * noise.random(len(each))) for each in rows[name]]
        moved[name] = pd.Series(values, index=rows.index, dtype=object)
    digests = [
        f"{word:016x}" if there else ""
        for word, there in zip(noise.integers(2**63, size=len(rows)).tolist(), rows["digest"], strict=True)
    ]
    return rows.assign(**moved, digest=digests)


def _store(folder: Path, manifest: dict[str, Any], planned: pd.DataFrame, rows: pd.DataFrame) -> None:
    rows = rows.reset_index(drop=True)
    today = datetime.datetime.fromisoformat(manifest["created"]).date()
    judged = judgement.judged_run(rows, manifest["cases"], BY, (), today, parts=manifest.get("parts"))
    manifest |= judgement.judged_by(BY, ())
    storing.prepare(folder)
    storing.write(folder, manifest, planned, judged.observations, judged.verdicts, judged.summary)


def hosts(base: store.Run, target: Path, *, number: int, rows: int) -> None:
    """Stores the shards of one plan, one a host, of about so many rows each."""
    whole = _ids(base, number * rows)
    for host in range(1, number + 1):
        dealt(base, target / f"host-{host:04}", Shard(number=host, of=number), whole)


def devices(base: store.Run, target: Path, *, number: int, rows: int) -> None:
    """Stores one plan of about so many rows on each of so many accelerators, no two of them of one kind."""
    whole = _ids(base, rows)
    for device in range(1, number + 1):
        dealt(on_another(base, device), target / f"device-{device:04}", Shard(number=1, of=1), whole)


def nights(base: store.Run, target: Path, *, number: int, rows: int) -> None:
    """Stores as many nights of so many rows. They share one file of rows, which no other would be larger than."""
    first = target / "night-0000"
    dealt(base, first, Shard(number=1, of=1), _ids(base, rows))
    run = store.read(first)
    began = datetime.datetime.fromisoformat(run.manifest["created"])
    for night in range(1, number):
        noise = np.random.default_rng(night)
        move = {name: run.verdicts[name] * (1 + 0.1 * noise.random(len(run.verdicts))) for name in ("p99", "largest")}
        folder = target / f"night-{night:04}"
        storing.prepare(folder)
        (folder / store.OBSERVATIONS).hardlink_to(first / store.OBSERVATIONS)
        created = (began + datetime.timedelta(days=night)).isoformat(timespec="seconds")
        manifest = run.manifest | {"created": created, "seed": run.manifest["seed"] + night}
        storing.write_around_observations(folder, manifest, run.plan, run.verdicts.assign(**move), run.summary)


MAKERS: Final = {"hosts": hosts, "devices": devices, "nights": nights}


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the folders."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("kind", choices=MAKERS)
    parser.add_argument("run", type=Path, help="a real run to make them from")
    parser.add_argument("target", type=Path, help="the folder that they are put into")
    parser.add_argument("--number", type=int, default=200, help="of hosts, devices or nights")
    parser.add_argument("--rows", type=int, default=10_000, help="of each")
    options = parser.parse_args(arguments)
    try:
        base = store.read(options.run)
    except StoreError as error:
        parser.error(str(error))
    MAKERS[options.kind](base, options.target, number=options.number, rows=options.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
