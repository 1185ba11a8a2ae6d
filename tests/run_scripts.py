"""Runs the scripts named on its input in one process, one after the other, and prints path, exit code and last line.

Most of what a script costs is to import torch and the library, and there are many scripts.
"""

import io
import json
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout


def ended(path: str) -> tuple[str, int, str]:
    said, code = io.StringIO(), 0
    with redirect_stdout(said), redirect_stderr(said):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0) if not isinstance(end.code, str) else 1
            said.write(end.code if isinstance(end.code, str) else "")
        except Exception as error:  # noqa: BLE001  what an interpreter would end with
            code = 1
            said.write(f"{type(error).__name__}: {error}")
    return path, code, (said.getvalue().strip().splitlines() or [""])[-1]


if __name__ == "__main__":
    for line in sys.stdin.read().split():
        sys.stdout.write(json.dumps(ended(line)) + "\n")
