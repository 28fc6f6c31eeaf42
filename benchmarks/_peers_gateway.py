"""One gateway worker with every duty on, in front of the upstream of `benchmarks/peers.py`; says where it listens.

Key, label rule, policy, quotas of requests, tokens and a daily budget, JSON validation, token metering and the
durable ledger record are on; `--bodies` keeps prompts and answers beside the log as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import msgspec
import uvloop

from tokenworks.core.memory import calm_collector
from tokenworks.core.model import ModelVersion, Release
from tokenworks.factory.engines import open_verified
from tokenworks.factory.house import House
from tokenworks.factory.path import request_path
from tokenworks.gateway.server import serve
from tokenworks.governance.keys import DEFAULT_SCOPES
from tokenworks.governance.limits import Limit, Subject
from tokenworks.serving.engine import Options
from tokenworks.settings import load_settings
from tokenworks.store.catalog import Catalog

PLENTY = 10**12


def release(catalog: Catalog) -> None:
    """Release `model`, version 1."""
    about = {"licence": "MIT", "owner": "mailto:a@example.org", "base": "", "stage_key": "", "evaluation": ""}
    catalog.models.add(ModelVersion(model="model", version=0, folder="0" * 64, kind="chat", label="internal", **about))
    step = {"action": "promote", "reason": "benchmark", "by": "benchmark", "at": 1.0}
    catalog.releases.apply(Release(id="rel-1", alias="model", model="model", version=1, **step))


async def main(home: Path, upstream: str, *, bodies: bool) -> None:
    """Serve until standard input ends."""
    settings = load_settings(home=home)
    server = msgspec.structs.replace(settings.server, max_in_flight=4096)
    admission = msgspec.structs.replace(settings.admission, slots=4096)  # the upstream answers any number at a time
    with House(msgspec.structs.replace(settings, server=server, admission=admission), role="serve") as house:
        release(house.catalog)
        scopes = DEFAULT_SCOPES if bodies else DEFAULT_SCOPES - {"learn"}
        secret, _ = house.keys.create("tenant", scopes=scopes)
        house.limits.set(
            Limit(
                subject=Subject("tenant"),
                requests_per_minute=PLENTY,
                tokens_per_minute=PLENTY,
                concurrency=PLENTY,
                tokens_per_day=PLENTY,
            )
        )
        path = request_path(house, open_model=open_verified(house), keep_bodies=bodies)
        await path.pool.add_remote("model@1", Options(url=upstream))
        calm_collector()  # as the plant does when it is ready
        server = await serve(path.gateway.app, "127.0.0.1", 0)
        print(json.dumps({"port": server.port, "key": secret}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop()
        await path.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("upstream")
    parser.add_argument("--bodies", action="store_true")
    asked = parser.parse_args()
    uvloop.run(main(asked.home, asked.upstream, bodies=asked.bodies))
