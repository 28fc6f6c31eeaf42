"""The whole gateway before the stand-in engine, with the queue of `gateway.admission`, or without; says where it is.

python _overload_gateway.py ENGINE_PORT HOME SLOTS MAX_IN_FLIGHT      SLOTS 0: no queue
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import uvloop

from tokenworks.core.model import ModelVersion, Release
from tokenworks.factory.limiting import spent_by
from tokenworks.gateway.app import build
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.limits.counters import LocalCounters
from tokenworks.gateway.parts import GatewayParts
from tokenworks.gateway.records import Records
from tokenworks.gateway.releases import CatalogReleases
from tokenworks.gateway.server import serve
from tokenworks.governance.keys import Keys
from tokenworks.governance.limits import Limits
from tokenworks.ledger.bodies import Bodies
from tokenworks.ledger.lookup import Lookup
from tokenworks.ledger.spending import load_spending
from tokenworks.ledger.writer import Ledger
from tokenworks.serving.engine import Options
from tokenworks.serving.pool import Pool
from tokenworks.settings import ServerSettings
from tokenworks.store.catalog import Catalog, open_catalog


def release(catalog: Catalog) -> None:
    """Release `model`, version 1."""
    about = {"licence": "MIT", "owner": "mailto:a@example.org", "base": "", "stage_key": "", "evaluation": ""}
    catalog.models.add(
        ModelVersion(model="model", version=0, folder="0" * 64, kind="complete", label="public", **about)
    )
    step = {"action": "promote", "reason": "benchmark", "by": "benchmark", "at": 1.0}
    catalog.releases.apply(Release(id="rel-1", alias="model", model="model", version=1, **step))


async def main(engine: int, home: Path, slots: int, max_in_flight: int) -> None:
    """Serve until standard input ends."""
    catalog = open_catalog(f"sqlite:///{home / 'catalog.db'}")
    release(catalog)
    keys = Keys(catalog.keys)
    secrets = {tenant: keys.create(tenant)[0] for tenant in ("fair", "flood")}
    ledger, bodies, pool = Ledger(home / "ledger", "gateway"), Bodies(home / "bodies"), Pool()
    await pool.add_remote("model@1", Options(url=f"http://127.0.0.1:{engine}/v1"), model="model")
    spending = load_spending(home / "ledger", home / "spending.json")
    counters = LocalCounters(spent_by(spending))
    parts = GatewayParts(
        keys=keys,
        limit=Limit(Limits(catalog.objects), spending, counters, wait_s=30, answer_tokens=1024),
        releases=CatalogReleases(catalog.releases, catalog.models),
        pool=pool,
        records=Records(
            ledger=ledger, bodies=bodies, keep_bodies=False, lookup=Lookup(home / "ledger", home / "lookup.db")
        ),
        server=ServerSettings(max_in_flight=max_in_flight),
        schedule=Schedule(lambda ref: slots),
    )
    gateway = build(parts)
    server = await serve(gateway.app, "127.0.0.1", 0, drain_s=1)
    print(json.dumps({"port": server.port, "secrets": secrets}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    gateway.drain()
    await server.stop()
    await pool.close()
    ledger.close()
    catalog.close()


uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
