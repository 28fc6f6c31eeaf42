"""The program of a gateway worker (factory/worker.py), started by `tokenworks serve --workers N` and by nobody else."""

from __future__ import annotations

import sys

from tokenworks.core.compiled import use as use_compiled

if __name__ == "__main__":
    use_compiled()  # before anything that it replaces is imported

    from tokenworks.cli.logs import log_to_stderr
    from tokenworks.factory.worker import main

    sys.exit(main(sys.argv[1:], log_to_stderr))
