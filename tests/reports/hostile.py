"""Strings that broke other pages, and runs that carry one of them wherever a run can carry text."""

import json
from functools import cache

import data

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


@cache
def small_run() -> data.Run:
    return data.failing(per_case=1, cases={"linear4bit-fp4-train": "Linear4bit"}, devices=("cpu",))


def hostile(payload: str) -> data.Run:
    """A run with the payload in every text it can carry."""
    run = small_run()
    names = ("case", "device", "dtype", "basis", "observed", "reason")
    observations = run.observations.assign(**dict.fromkeys(names, payload))
    first = observations.index[0]
    config = json.loads(str(observations.at[first, "config"])) | {"weight": payload, payload[:80]: payload}
    ids = observations["id"] == observations.at[first, "id"]
    observations.loc[ids, "config"] = json.dumps(config)
    observations.loc[ids, "status"] = "crash"
    again = data.assemble(observations, cases={payload: payload}, devices=[payload], missing={payload + "2": payload})
    manifest = dict(again.manifest) | {"profile": payload, "accuracy": payload, "limits_hash": payload}
    manifest["versions"] = {payload: payload, "bitsandbytes": payload}
    manifest["environment"] = {payload: {payload: payload}}
    manifest["cases"] = {payload: {"layer": payload, "claim": payload}}
    reasons = [dict(reason, text=payload) for reason in again.summary["reasons"]]
    return data.Run(
        manifest=manifest,
        observations=again.observations,
        verdicts=again.verdicts,
        summary=dict(again.summary) | {"reasons": reasons},
    )
