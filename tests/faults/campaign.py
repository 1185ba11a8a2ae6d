"""One run into a folder, as a process of its own that can be killed: `campaign.py FOLDER COUNT SEED`.

Writes the rows as JSON to `FOLDER/rows.json` when it gets to the end, and says so by exit code 0.
"""

import json
import sys
from pathlib import Path

from accuracy.files import JOURNAL, StoreError
from accuracy.journal import Journal
from faults.plans import comparable, plan, run

FAULTS = {17: "segfault", 60: "raise", 61: "exit_0", 100: "hang_in_python"}


def main(folder: Path, count: int) -> None:
    """Begins the run in `folder`, or goes on with it."""
    with Journal(folder, {"plan": count}, resume=(folder / JOURNAL).exists()) as journal:
        execution = run(plan(count, FAULTS), journal=journal, measure="faults.workloads:slow", timeout_s=0.5)
    if execution.complete:
        (folder / "rows.json").write_text(json.dumps(comparable(execution.rows)), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except StoreError as error:
        sys.exit(str(error))
