"""Strings that broke other pages, and runs that carry one of them wherever a run can carry text."""

import json
from functools import cache, lru_cache
from typing import Any

import data
import pandas as pd

from accuracy import change, history, limits, plan
from accuracy.case import Task
from accuracy.cases import CASES
from accuracy.change import CellChange, Outcome
from accuracy.history import History
from accuracy.path import CHAINS, LINKS
from accuracy.signature import Signature, Signatures, Signed

PAYLOADS = [
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>', "'><b>", "javascript:alert(1)", "{{ 7*7 }}", "{% raw %}", "${7*7}", "<!--", "-->",
    "]]>", "<![CDATA[", "&lt;b&gt;", "&#60;script&#62;", "\u202etxt.exe", "\u2066hidden\u2069", "\x00nul", "\x1b[2J",
    "\u2028line", "</title><h1>", "</style><style>*{display:none}", "</svg><script>", "<base href=//evil>",
    "<meta http-equiv=refresh content=0>", "<iframe src=//evil>", 'a" onmouseover="alert(1)', "a' onfocus='x",
    "`onclick=x", "%3Cscript%3E", "#cell=x", "../../etc/passwd", "\\u003cscript\\u003e", "\ufeffbom",
    "<ScRiPt>x</sCrIpT>", "<a href=//evil>", "<form action=//evil>", "<object data=x>", "<embed src=x>",
    "<link rel=stylesheet href=//evil>", "<math><mi xlink:href=javascript:x>", "<details open ontoggle=x>",
    "<template><script>", '<noscript><p title="</noscript><img src=x>">', "<xmp><script>", "<plaintext>",
    "<textarea></textarea><script>", "<select><option>", "<table><td background=javascript:x>", "x" * 5000,
    "\t\ttabs", "line\nbreak", "\r\nheader: x", "%00", "%0a", "'; DROP TABLE runs; --", "=cmd|' /C calc'!A0",
    "$(rm -rf /)", "a & b < c > d", "🧨", "ﷺ" * 50,
]  # fmt: skip
"""Strings that broke other pages: markup, attributes, templates, terminals, directions of text."""


TEXTS = (
    "case", "device", "device_name", "dtype", "mode", "seed", "basis", "lower", "observed", "reason", "structure_at",
    "digest", "worst",
)  # fmt: skip
"""Columns of the observations that hold text of a worker; `id` and those that decide how a row is judged stay."""


@cache
def small_run() -> data.Run:
    return data.failing(per_case=1, cases={"linear4bit-fp4-train": "Linear4bit"}, devices=("cpu",))


@cache
def real_rows() -> pd.DataFrame:
    """Rows of a config that this version has, on a device that it knows: their failures have scripts."""
    case = CASES["linear4bit-fp4-train"]
    task = Task(case=case.name, config=case.published[0], seed=1, origin="sample")
    return small_run().observations.assign(**plan.rows([task])[0])


@lru_cache(maxsize=2)
def hostile(payload: str) -> data.Run:
    """A run with the payload in every text it can carry."""
    run = small_run()
    observations = run.observations.assign(**dict.fromkeys(TEXTS, payload))
    observations["strata"] = [[payload]] * len(observations)
    observations["path"] = payload.replace(LINKS, ">").replace(CHAINS, ";")  # else a path of several steps
    relations = observations["quantity"] == "output_form"
    observations.loc[relations, "quantity"] = payload
    first = observations.index[0]
    config = json.loads(str(observations.at[first, "config"])) | {"weight": payload, payload[:80]: payload}
    ids = observations["id"] == observations.at[first, "id"]
    observations.loc[ids, "config"] = json.dumps(config)
    observations.loc[ids, "status"] = "crash"
    quoted = real_rows().assign(**dict.fromkeys(("reason", "observed", "device_name", "lower"), payload))
    cases = {payload: payload, str(quoted["case"].iloc[0]): payload}
    again = data.assemble(
        pd.concat([observations, quoted], ignore_index=True),
        cases=cases,
        devices=[payload, "cpu"],
        missing={payload + "2": payload},
    )
    manifest = dict(again.manifest) | {"profile": payload, "accuracy": payload, "limits_hash": payload}
    manifest["versions"] = {payload: "1.0", payload + "2": payload, "bitsandbytes": payload}
    manifest["bounds"] = vars(limits.load().bounds)
    manifest["environment"] = {payload: {payload: payload}}
    manifest["cases"] = {name: {"layer": payload, "claim": payload, "strata": [payload]} for name in cases}
    manifest["bases"] = {payload: payload}
    manifest |= dict.fromkeys(("baseline", "created", "hash", "plan_hash", "seed"), payload)
    manifest["unusable"] = {payload: payload}
    manifest["devices"] = {**manifest["devices"], "found": {payload: payload, "cpu": payload}}
    step = {"path": payload, "layers": [payload, "other"], "built": True, "unreached": {"other": payload}}
    manifest["paths"] = {payload: [step]}
    matrix = {"created": payload, "versions": {payload: payload}, "summary": [payload], "columns": [payload]}
    manifest["selftest"] = matrix | {"rows": [[payload]]}
    texts = dict.fromkeys(("id", "case", "stage", "quantity", "owner", "reason", "link", "device", "dtype"), payload)
    manifest["waivers"] = [{**texts, "expires": "2027-01-01", "at_least": "1", "at_most": "2"}]
    reasons = [dict(reason, text=payload) for reason in again.summary["reasons"]]
    return data.Run(
        manifest=manifest,
        observations=again.observations,
        verdicts=again.verdicts,
        summary=dict(again.summary) | {"reasons": reasons},
    )


def compared(payload: str) -> pd.DataFrame:
    """A comparison with the payload in every text, of each outcome once, and with what the baseline measured."""
    texts: dict[str, Any] = dict.fromkeys(("case", "device", "dtype", "stage", "quantity"), payload)
    texts |= dict.fromkeys(("metric", "worst_id", "reason"), payload)
    numbers: dict[str, Any] = {"n": 9, "identical": 3, "worse": 4, "better": 2, "broken": 1, "effect": 0.1, "p": 1e-6}
    before: dict[str, Any] = {"before_bins": (4000, 4064), "before_counts": (8, 1)}
    return change.frame(CellChange(outcome=outcome, **texts, **numbers, **before) for outcome in Outcome)


def signed(payload: str) -> Signatures:
    """Signatures with the payload in every text: one that holds, one of a changed run, one of no known decision."""
    texts = dict.fromkeys(("name", "note", "signed", "verdict", "limits_hash", "run"), payload)
    entries = tuple(
        Signed(signature=Signature(**texts, decision=decision, waivers=(payload,)), holds=holds)
        for decision, holds in (("release", True), ("reject", False), (payload, True))
    )
    return Signatures(entries=entries, damage=payload)


def nights(payload: str) -> History:
    """Three nights with the payload wherever a run folder can put text, a shift of versions and a folder not read."""
    run = hostile(payload)
    known = History(nights=(), unreadable={payload: payload}, cells=(), rows=pd.DataFrame())
    for number in range(3):
        manifest = dict(run.manifest) | {
            "created": f"2026-11-2{number} {payload}",
            "versions": {payload: f"{payload}{number}"},
        }
        verdicts = run.verdicts.assign(verdict="pass") if number == 0 else run.verdicts
        known = history.with_run(known, f"{payload}{number}", manifest, verdicts)
    return known
