"""Runs the command line in this process and says as JSON what it took: `python -m bench.night ARGS`."""

import json
import re
import resource
import sys
import time
from pathlib import Path

import cli


def main() -> None:
    """One command, then its wall time, processor time, and the peak memory of this process and of its largest child."""
    began = time.perf_counter()
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Not `ru_maxrss`: of a process that another one started it is at least what that one held.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    taken = {
        "code": code,
        "wall": time.perf_counter() - began,
        "cpu": own.ru_utime + own.ru_stime,
        "children_cpu": others.ru_utime + others.ru_stime,
        "peak": int(peak[1]) * 1024 if peak else own.ru_maxrss * 1024,
        "children_peak": others.ru_maxrss * 1024,
    }
    sys.stdout.write("\n" + json.dumps(taken) + "\n")


if __name__ == "__main__":
    main()
