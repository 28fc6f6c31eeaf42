"""The program of a gateway worker (factory/worker.py), started by `tokenworks serve --workers N` and by nobody else."""

from __future__ import annotations

import sys

from tokenworks.cli.logs import log_to_stderr
from tokenworks.factory.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], log_to_stderr))
