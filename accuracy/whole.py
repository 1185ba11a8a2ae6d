"""Many run folders to one: opened with distrust, put together, judged once and stored."""

import datetime
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from accuracy import gather, judgement, merge, quarantine, storing
from accuracy.files import StoreError
from accuracy.limits import Limits
from accuracy.waivers import Waiver


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is merged. `wanted` are devices that must be in the whole; `today` is what waivers are held against."""

    runs: Sequence[Path]
    limits: Limits
    waivers: Sequence[Waiver]
    wanted: Sequence[str]
    today: datetime.date


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The runs as one, before it is stored. `refused` says which folders are not in it, and why."""

    looked: Sequence[gather.Looked]
    found: gather.Gathered
    manifest: dict[str, Any]
    plan: pd.DataFrame
    refused: dict[str, str]


def opened(request: Request) -> Whole:
    """Reads the runs. One that cannot be read is left out, and then the whole is incomplete.

    Raises:
        MergeError: if none can be read, or one has another plan, library or limits.
        StoreError: if the plans of the runs do not make the one that their manifests name.
    """
    manifests, refused = gather.manifests(request.runs)
    looked = []
    # While one run is tasted in its own process, another is judged here.
    with quarantine.tasting() as taste, ThreadPoolExecutor(2) as pool:
        sources = merge.sources(manifests, request.limits)
        for source, looking in [(each, pool.submit(gather.look, each, request.limits, taste)) for each in sources]:
            try:
                looked.append(looking.result())
            except StoreError as error:
                refused[source.folder.name] = str(error)
    if not looked:
        raise merge.MergeError(f"no run can be read: {'; '.join(refused.values())}")
    planned = merge.whole_plan([(each.source, each.plan) for each in looked])
    return Whole(
        looked=looked,
        found=gather.gathered(looked, request.limits),
        manifest=merge.manifest([each.source for each in looked], planned, refused, request.wanted),
        plan=planned,
        refused=refused,
    )


def write(folder: Path, whole: Whole, request: Request) -> dict[str, Any]:
    """Judges the whole and stores it in a new folder, as a run like any other; returns the content of `verdict.json`.

    Raises:
        StoreError: if the folder holds something or cannot be written, or a run has changed since it was read.
    """
    storing.prepare(folder)
    manifest = whole.manifest | judgement.judged_by(request.limits, request.waivers)
    with storing.writing_observations(folder) as write:
        gather.copy(whole.looked, whole.found, write)
    rows = whole.found.rows[whole.found.kept]
    verdicts, summary = judgement.verdict(
        rows, manifest["cases"], request.waivers, request.today, parts=manifest["parts"]
    )
    storing.write_around_observations(folder, manifest, whole.plan, verdicts, summary)
    return summary
