"""The two sides of a comparison: stored runs, or libraries on which the same plan is run side by side."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accuracy import baseline, change, compare, store, storing, unpaired, verdicts
from accuracy.cell import Cell
from accuracy.change import CellChange, ComparisonError
from accuracy.devices import probe
from accuracy.library import Library
from accuracy.limits import Change, Limits
from accuracy.plan import PROFILES, checked_seed, plan_hash, select
from accuracy.prepared import Prepared, Request, prepare
from accuracy.summary import summarize


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is to be run on libraries. What is None is as in the stored run on the other side, or as for a night."""

    profile: str | None
    examples: int | None = None
    seed: int | None
    devices: Sequence[str]
    cases: Sequence[str]
    jobs: int | None
    limits: Limits
    created: datetime.datetime

    def as_in(self, manifest: Mapping[str, Any]) -> "Options":
        """The same with what was left open taken from a stored run."""
        return Options(
            profile=str(manifest["profile"]) if self.profile is None else self.profile,
            examples=int(manifest["examples"]) if self.profile is None and "examples" in manifest else None,
            seed=int(manifest["seed"]) if self.seed is None else self.seed,
            devices=self.devices or list(manifest["devices"]["found"]),
            cases=self.cases or list(manifest["cases"]),
            jobs=self.jobs,
            limits=self.limits,
            created=self.created,
        )


def prepared(libraries: Sequence[Library], options: Options, known: Mapping[str, Any]) -> list[Prepared]:
    """The same plan for each library; `known` holds the cases by name.

    Raises:
        ComparisonError: if the profile is unknown.
        PlanError: if the plan cannot be made.
        ValueError: if a device is unknown.
    """
    profile = options.profile or "nightly"
    if profile not in PROFILES:
        raise ComparisonError(f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}")
    requests = [
        Request(
            cases=select(dict(known), options.cases),
            profile=profile,
            examples=options.examples,
            seed=int(f"{options.created:%Y%m%d}") if options.seed is None else checked_seed(options.seed),
            devices=options.devices,
            limits=options.limits,
            waivers=(),
            jobs=options.jobs,
            deadline=None,
            created=options.created,
            library=library,
        )
        for library in libraries
    ]
    return [prepare(request, probe(request.interpreter, request.overlay)) for request in requests]


def compared(base: store.Run, candidate: store.Run, by: Change, *, pairs: bool) -> list[CellChange]:
    """One entry a cell; see `accuracy.compare`.

    Raises:
        ComparisonError: if the runs have different plans and pairs are wanted, or different bounds and they are not,
            or no device in common.
    """
    if pairs:
        same_plan(base.manifest, plan_of(candidate.manifest))
    elif not baseline.same_scale(base.manifest, candidate.manifest):
        raise ComparisonError(
            "the runs were measured with different bounds or versions of accuracy, in units of which runs of "
            "different plans are compared; measure both with this one"
        )
    devices = [set(run.manifest["devices"]["found"]) for run in (base, candidate)]
    if not devices[0] & devices[1]:
        names = [", ".join(sorted(there)) or "none" for there in devices]
        raise ComparisonError(f"no device in common: {names[0]} and {names[1]}; run both on the same")
    compare_runs = compare.compare if pairs else unpaired.compare
    changes = compare_runs(base.observations, candidate.observations, by)
    return baseline.drawn(changes, base.observations, (base.manifest, candidate.manifest))


def same_plan(base: Mapping[str, Any], other: Mapping[str, object]) -> None:
    """Check that a run has this plan, as `plan_of` gives it.

    Raises:
        ComparisonError: if it has another.
    """
    mine = plan_of(base)
    if mine["plan"] != other["plan"]:
        what = "; ".join(f"{name} {mine[name]} and {other[name]}" for name in mine if mine[name] != other[name])
        raise ComparisonError(
            f"the runs have different plans ({what}); run both with one seed, or compare with --unpaired"
        )


def plan_of(manifest: Mapping[str, Any]) -> dict[str, object]:
    """What names the plan of a run, and what made it so."""
    return {
        "plan": manifest["plan_hash"],
        "profile": manifest["profile"],
        "seed": manifest["seed"],
        "Hypothesis": manifest["versions"].get("hypothesis", ""),
    }


def plan_to_be(prepared: Prepared) -> dict[str, object]:
    """The same of a run that is prepared."""
    request = prepared.request
    return {
        "plan": plan_hash(prepared.tasks),
        "profile": request.profile,
        "seed": request.seed,
        "Hypothesis": version("hypothesis"),
    }


def write(folder: Path, base: store.Run, candidate: store.Run, changes: Sequence[CellChange], *, paired: bool) -> Any:
    """Store the candidate's run with the comparison and what follows from it; returns the run as stored.

    Raises:
        StoreError: if it cannot be written.
    """
    against = baseline.Against(name=baseline.name(base.manifest), paired=paired, changes=changes)
    cells = [Cell(**row) for row in verdicts.records(candidate.verdicts)]
    cells = baseline.applied(cells, against)
    storing.write(
        folder,
        {**candidate.manifest, "baseline": against.name, "comparison": against.facts()},
        candidate.plan,
        candidate.observations,
        verdicts.frame(cells),
        summarize(candidate.observations, cells),
        comparison=change.frame(changes),
    )
    return store.read(folder)


def document(base: Mapping[str, Any], candidate: Mapping[str, Any], changes: Sequence[CellChange]) -> dict[str, Any]:
    """The content of `comparison.json`, from two manifests and what was found; distributions are in the run."""
    cells = change.frame(changes).drop(columns=["before_bins", "before_counts"])
    numbers = cells.select_dtypes("float")
    cells[numbers.columns] = numbers.astype(object).where(numbers.notna(), None)
    return {
        "schema": 1,
        "baseline": _names(base),
        "candidate": _names(candidate),
        "exit_code": change.exit_code(changes),
        "counts": change.counts(changes),
        "cells": cells.to_dict("records"),
    }


def _names(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: manifest.get(name) for name in ("created", "versions", "library", "plan_hash", "limits_hash")}
