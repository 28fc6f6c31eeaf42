"""A home in which somebody's words became a dataset, a model and an answer in production."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from flywheel.select.home import Home
from tokenworks.core.ids import pseudonym, sha256_hex
from tokenworks.core.model import ModelVersion
from tokenworks.core.stage import Bench, Outputs, Stage
from tokenworks.core.task import Task, TaskData, TaskHead
from tokenworks.factory.house import House
from tokenworks.flywheel.select.select import Selection
from tokenworks.ledger.shelf import SEALED, Shelf
from tokenworks.ledger.vault import Vault
from tokenworks.line.curate.examples import EXAMPLES, ExamplesParams
from tokenworks.line.release.release import promote
from tokenworks.line.run import Runner, stage_key

HER = pseudonym("clinic", "ada@example.org")
HIS = pseudonym("clinic", "bob@example.org")
TASK = Task(
    task=TaskHead(name="route", kind="classify", owner="mailto:a@example.org"), data=TaskData(examples="ex.jsonl")
)


def _train(inputs: Mapping[str, str], params: Any, bench: Bench) -> Outputs:
    """Learn a hash: a model whose weights change with its data and hold none of it."""
    folder = bench.scratch / "model"
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_text(sha256_hex(bench.artifacts.get_bytes(inputs["train"])))
    return {"model": bench.artifacts.put_folder(folder)}


TRAIN = Stage("train", "1", _train)


@dataclass
class Erasable:
    """Traffic, and what is made of it."""

    house: House
    runner: Runner
    traffic: Home

    def converse(self) -> None:
        """Let two people ask and correct; the second one's words are nobody else's."""
        for number in range(6):
            # Conversations of their own: a user's day is one group, and its date would decide what is measured on.
            for text, right, user in (
                (f"invoice refund charge bobs own {number}", "billing", HIS),
                (f"parcel courier zanzibar {number}", "shipping", HER),
            ):
                self.traffic.correct(text, right, user=user, conversation=f"{right}-{number}")

    def learn(self, *, until: float | None = None) -> tuple[Selection, ModelVersion]:
        """Select, split, train, register and release."""
        chosen = self.traffic.select(TASK, until=until or time.time())
        kinds = ("access", "billing", "shipping")
        examples = [{"text": f"about {kind} number {n}", "label": kind} for n in range(10) for kind in kinds]
        inputs = {"examples": self.traffic.blob(examples), "corrections": chosen.train, "fresh": chosen.fresh}
        made = self.runner.run(EXAMPLES, inputs, ExamplesParams(task="route", kind="classify"), task="route")
        return chosen, release_model(self.house, self.runner, "route", made["train"])


def release_model(house: House, runner: Runner, name: str, train: str, kind: str = "classify") -> ModelVersion:
    """Train on the artifact `train`, register what came of it, and let it answer."""
    folder = runner.run(TRAIN, {"train": train}, None, task=name)["model"]
    version = house.catalog.models.add(
        ModelVersion(
            model=name,
            version=0,
            folder=folder,
            kind=kind,
            label="internal",
            licence="",
            owner="mailto:a@example.org",
            base="",
            stage_key=stage_key(TRAIN, {"train": train}, None),
            evaluation="",
        )
    )
    promote(name, version, reason="t", by="t", catalog=house.catalog, ledger=house.ledger)
    return version


def open_home(home: Path) -> Erasable:
    """Return the home at `home`, made where there is none."""
    house = House(home=home)
    runner = Runner(house.catalog, house.artifacts, house.ledger, house.home)
    return Erasable(house, runner, Home(house.ledger_root, runner, house.bodies, clock=time.time() - 86_400))


def bytes_below(home: Path) -> bytes:
    """Return every byte of every file, with what zstd packed unpacked beside, and what is sealed opened."""
    import zstandard

    found = _opened(home)
    for path in sorted(home.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        found.append(data)
        for start in _frames(data):
            unpacked = zstandard.ZstdDecompressor().decompressobj()
            try:
                found.append(unpacked.decompress(data[start:]))
            except zstandard.ZstdError:
                continue
    return b"\n".join(found)


def _opened(home: Path) -> list[bytes]:
    """Return the sealed texts that can still be opened: as whoever holds the home can."""
    if not (home / "keys" / "subjects.keys").exists():
        return []
    vault, texts = Vault(home / "keys"), list[bytes | None]()
    for path in sorted((home / "bodies").glob("*.bodies")):
        sealed = [one for one in Shelf(path, vault).all() if one.form == SEALED]
        texts += [vault.open(one.key, one.text) for one in sealed]
    vault.close()
    return [text for text in texts if text is not None]


def _frames(data: bytes) -> list[int]:
    places, at = [], data.find(b"\x28\xb5\x2f\xfd")
    while at >= 0:
        places.append(at)
        at = data.find(b"\x28\xb5\x2f\xfd", at + 1)
    return places


def remember(house: House, task: Task) -> None:
    """Enter the task into the catalog."""
    from tokenworks.store.nouns import CatalogTask

    spec = msgspec.to_builtins(task)
    house.catalog.tasks.put(CatalogTask(name=task.name, kind=task.kind, owner=task.task.owner, spec=spec))
