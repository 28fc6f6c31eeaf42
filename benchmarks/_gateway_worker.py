"""The whole gateway over one model folder, as `tokenworks up` runs it; says on standard output where it is."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import uvloop

from tokenworks.core.model import ModelVersion, Release
from tokenworks.gateway.app import build
from tokenworks.gateway.layers.limit import Limit
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
from tokenworks.ledger.vault import Vault
from tokenworks.ledger.writer import Ledger
from tokenworks.serving.engine import Options
from tokenworks.serving.pool import Pool
from tokenworks.store.catalog import Catalog, open_catalog


def release(catalog: Catalog) -> None:
    """Release `model`, version 1."""
    about = {"licence": "MIT", "owner": "mailto:a@example.org", "base": "", "stage_key": "", "evaluation": ""}
    version = ModelVersion(model="model", version=0, folder="0" * 64, kind="complete", label="public", **about)
    catalog.models.add(version)
    step = {"action": "promote", "reason": "benchmark", "by": "benchmark", "at": 1.0}
    catalog.releases.apply(Release(id="rel-1", alias="model", model="model", version=1, **step))


async def main(folder: Path, home: Path) -> None:
    """Serve until standard input ends."""
    catalog = open_catalog(f"sqlite:///{home / 'catalog.db'}")
    release(catalog)
    keys, releases = Keys(catalog.keys), CatalogReleases(catalog.releases, catalog.models)
    secret, _ = keys.create("default")
    ledger, bodies = Ledger(home / "ledger", "gateway"), Bodies(home / "bodies", vault=Vault(home / "keys"))
    pool = Pool(open_model=lambda ref: folder, options=Options(threads=2, cache=str(home / "cache")), wait_s=60)
    await pool.ready("model@1")
    spending = load_spending(home / "ledger", home / "spending.json")
    counters = LocalCounters(lambda claim: spending.total(claim.window, *claim.subject))
    parts = GatewayParts(
        keys=keys,
        limit=Limit(Limits(catalog.objects), spending, counters, wait_s=30, answer_tokens=1024),
        releases=releases,
        pool=pool,
        records=Records(
            ledger=ledger, bodies=bodies, keep_bodies=True, lookup=Lookup(home / "ledger", home / "lookup.db")
        ),
    )
    gateway = build(parts)
    server = await serve(gateway.app, "127.0.0.1", 0)
    upstream = await pool._members["model@1"].upstream(60)
    status = pool.status()["model@1"]
    places = {"gateway": server.port, "engine": upstream.address.port, "secret": secret}
    print(json.dumps({**places, "pids": {"gateway": os.getpid(), "engine": status.pid}}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()
    await pool.close()
    ledger.close()
    bodies.close()
    catalog.close()


uvloop.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
