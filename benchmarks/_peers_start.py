"""Start `_peers_gateway.py`: in compiled form where there is one, from its sources with `--interpreted`."""

import runpy
import sys
from pathlib import Path

from tokenworks.core.compiled import use

if __name__ == "__main__":
    if "--interpreted" in sys.argv:
        sys.argv.remove("--interpreted")
    else:
        use()
    runpy.run_path(str(Path(__file__).with_name("_peers_gateway.py")), run_name="__main__")
