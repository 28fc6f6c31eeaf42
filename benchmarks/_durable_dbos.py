"""The toy line of `durable.py` on DBOS: a step's result is known by its place in the workflow.

Not run by hand: `durable.py` copies this file, edits the copy and starts it. Arguments: home, time of start, steps,
application version ("" lets DBOS hash the workflow's source), workflow id.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID

ADDS = {number: number for number in range(1, 1000)}
HOME = Path(sys.argv[1])
PATIENCE_S = 30.0


def step(number: int, value: int) -> int:
    """Add the number of the step; die in step 3 when told to."""
    with (HOME / "log").open("a") as log:
        log.write(f"{number} ")
    fault = HOME / "fault"
    if number == 3 and fault.exists():
        fault.unlink()
        os.kill(os.getpid(), 9)
    return value + ADDS[number]


@DBOS.workflow()
def line(steps: int) -> int:
    """Run the steps one after the other."""
    ORDER = list(range(1, steps + 1))
    value = 0
    for number in ORDER:
        value = DBOS.run_step({"name": f"step-{number}"}, step, number, value)
    return value


def main(started: float, steps: int, version: str, workflow_id: str) -> None:
    """Start DBOS, run or recover the workflow, print what it took."""
    config: DBOSConfig = {
        "name": "toy-line",
        "system_database_url": f"sqlite:///{HOME / 'dbos.db'}",
        "log_level": "ERROR",
    }
    if version:
        config["application_version"] = version
    DBOS(config=config)
    DBOS.launch()
    ready_s = time.time() - started
    before = time.perf_counter()
    result = _result(steps, workflow_id)
    seconds = time.perf_counter() - before
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    out = {"result": result, "ready_s": ready_s, "ms_per_step": 1e3 * seconds / steps, "resident_mb": resident / 2**20}
    print(json.dumps(out), flush=True)
    os._exit(0)  # a workflow that nobody recovers would keep the process waiting


def _result(steps: int, workflow_id: str) -> int | str:
    """Return the result; recovery is DBOS's own, or a plain call where there is nothing to recover."""
    waited, known = 0.0, [each for each in DBOS.list_workflows() if each.workflow_id == workflow_id]
    if not known:
        with SetWorkflowID(workflow_id):
            return line(steps)
    while waited < PATIENCE_S:
        status = DBOS.retrieve_workflow(workflow_id).get_status()
        if status.status == "SUCCESS":
            return int(status.output)
        if status.status not in ("PENDING", "ENQUEUED"):
            return f"{status.status}: {type(status.error).__name__}"
        time.sleep(0.1)
        waited += 0.1
    return f"still {status.status} after {PATIENCE_S:.0f} s: not recovered"


if __name__ == "__main__":
    main(float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
