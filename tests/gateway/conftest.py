"""A whole gateway for tests: real catalog, ledger, keys, engine processes and sockets, on a loop of its own."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import openai
import pytest

from patience import until
from redis_server import RedisServer
from tokenworks.core.errors import NotFoundError
from tokenworks.core.label import Label
from tokenworks.core.model import ModelVersion, Release
from tokenworks.factory.limiting import price_list, spent_by
from tokenworks.gateway.admission.remembered import Remembered
from tokenworks.gateway.app import Gateway, build
from tokenworks.gateway.layers.cost import Cost
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.gateway.limits.counters import LocalCounters
from tokenworks.gateway.parts import GatewayParts
from tokenworks.gateway.records import Records
from tokenworks.gateway.releases import CatalogReleases
from tokenworks.gateway.search import Found, SearchCall
from tokenworks.gateway.server import Server, serve
from tokenworks.governance.keys import SCOPES, Keys
from tokenworks.governance.limits import Limits
from tokenworks.ledger.bodies import Bodies
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry
from tokenworks.ledger.lookup import Lookup
from tokenworks.ledger.reader import read
from tokenworks.ledger.signing import open_key
from tokenworks.ledger.spending import load_spending
from tokenworks.ledger.vault import Vault
from tokenworks.ledger.writer import Ledger
from tokenworks.serving.engine import Options
from tokenworks.serving.pool import Pool
from tokenworks.serving.supervisor import Policy
from tokenworks.settings import ModelPrice, PriceSettings, ServerSettings
from tokenworks.store.catalog import open_catalog

T = TypeVar("T")
PRICES = PriceSettings(models={"complete": ModelPrice(input=1000.0, cached=100.0, output=3000.0)})
TEXTS = ["the quick brown fox jumps over the lazy dog", "how do I reset my password", "a card was lost in the mail"]


class House:
    """Everything that `tokenworks up` would start, in one process, with a client's view of it."""

    def __init__(
        self,
        home: Path,
        folders: dict[str, Path],
        server: ServerSettings,
        schedule: Schedule | None = None,
        cost: Cost | None = None,
    ) -> None:
        self.home = home
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.catalog = open_catalog(f"sqlite:///{home / 'catalog.db'}")
        self.keys = Keys(self.catalog.keys, fresh_s=0.1)
        self.limits = Limits(self.catalog.objects, fresh_s=0.05)
        self.ledger = Ledger(home / "ledger", "gateway", key=open_key(home / "keys", home / "ledger"))
        self.bodies = Bodies(home / "bodies", vault=Vault(home / "keys"))
        self.lookup = Lookup(home / "ledger", home / "lookup.db")
        self.remembered = Remembered(home / "idempotency")
        self._folders = folders
        self.releases = CatalogReleases(self.catalog.releases, self.catalog.models, fresh_s=0.1)
        self.secret, self.key = self.keys.create("default", name="tests", scopes=frozenset(SCOPES))
        self._clients: dict[str, httpx.Client] = {}
        self._faces: list[Server] = []
        self.schedule, self.cost = schedule, cost
        self.pool: Pool
        self.gateway: Gateway
        self.server: Server
        self.run(self._start(server))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def _start(self, server: ServerSettings) -> None:
        self.pool = Pool(
            open_model=self._open,
            released=lambda: self.releases.refs,
            options=Options(threads=1, precision="f32", cache=str(self.home / "cache")),
            policy=Policy(first_pause_s=0.05, longest_pause_s=0.2, give_up_after=3, retry_failed_s=0.5),
            wait_s=0.3,
        )
        records = self.records(idempotency=self.remembered)
        parts = replace(self.parts(), records=records, search=_search, server=server, cost=self.cost)
        self.gateway = build(parts if self.schedule is None else replace(parts, schedule=self.schedule))
        self.server = await serve(self.gateway.app, "127.0.0.1", 0, drain_s=5)

    async def face(self, gateway: Gateway) -> str:
        """Serve one more gateway over this house, as long as the house stands; return its address."""
        self._faces.append(await serve(gateway.app, "127.0.0.1", 0, drain_s=5))
        return self._faces[-1].address

    def parts(self) -> GatewayParts:
        """Return what a gateway over this house is built from, and nothing that it could do without."""
        return GatewayParts(
            keys=self.keys, limit=self.limiting(), releases=self.releases, pool=self.pool, records=self.records()
        )

    def records(self, *, keep_bodies: bool = True, idempotency: Remembered | None = None) -> Records:
        return Records(
            ledger=self.ledger, bodies=self.bodies, keep_bodies=keep_bodies, lookup=self.lookup, idempotency=idempotency
        )

    def limiting(self) -> Limit:
        spending = load_spending(self.home / "ledger", self.home / "spending.json")
        counters = LocalCounters(spent_by(spending))
        return Limit(self.limits, spending, counters, wait_s=10, answer_tokens=64, prices=price_list(PRICES))

    def _open(self, ref: str) -> Path:
        if ref not in self._folders:
            raise NotFoundError(f"no folder for {ref}")
        return self._folders[ref]

    def release(self, model: str, *, label: str = "internal", alias: str = "", kind: str = "complete") -> str:
        """Register the folder of `model@1` and point an alias to it."""
        common = {
            "licence": "Apache-2.0",
            "owner": "mailto:a@example.org",
            "base": "",
            "stage_key": "",
            "evaluation": "",
        }
        version = self.catalog.models.add(
            ModelVersion(model=model, version=0, folder="0" * 64, kind=kind, label=label, created_at=1.0, **common)
        )
        self.catalog.releases.apply(
            Release(
                id=f"rel-{alias or model}", alias=alias or model, model=model, version=version.version,
                action="promote", reason="test", by="test", at=time.time(),
            )
        )  # fmt: skip
        self.releases.forget()
        return version.ref

    def entries(self) -> list[Any]:
        return [entry for _, entry in read(self.home / "ledger")]

    def entry(self, request_id: str, timeout_s: float = 60.0) -> RequestEntry:
        """Return the one entry of a request; wait for it a little, since a cancelled one has no answer to wait for."""

        def found() -> list[RequestEntry]:
            return [one for one in self.entries() if isinstance(one, RequestEntry) and one.request_id == request_id]

        [entry] = until(found, timeout_s, what=f"an entry of {request_id}")
        return entry

    def feedback(self) -> list[FeedbackEntry]:
        return [entry for entry in self.entries() if isinstance(entry, FeedbackEntry)]

    def http(self, secret: str | None = None) -> httpx.Client:
        secret = secret or self.secret
        if secret not in self._clients:
            headers = {"authorization": f"Bearer {secret}"}
            self._clients[secret] = httpx.Client(base_url=self.server.address, headers=headers, timeout=60)
        return self._clients[secret]

    def openai(self, secret: str | None = None, *, max_retries: int = 0) -> openai.OpenAI:
        client = self.http(secret)
        key = secret or self.secret
        return openai.OpenAI(
            base_url=f"{self.server.address}/v1", api_key=key, max_retries=max_retries, http_client=client
        )

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        until(condition, timeout_s)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.gateway.drain()
        self.run(self.gateway.mirror.close())
        for server in (self.server, *self._faces):
            self.run(server.stop())
        self.run(self.pool.close())
        self.run(self.gateway.limit.close())
        self.ledger.close()
        self.bodies.close()
        self.lookup.close()
        self.remembered.close()
        self.catalog.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _search(call: SearchCall) -> list[Found]:
    if call.store != "docs":
        raise NotFoundError(f"vector store {call.store!r} does not exist; there is: docs")
    found = [
        Found(file_id=f"f{n}", filename=f"{n}.md", text=text, score=1 / (n + 1), label=label)
        for n, (text, label) in enumerate(zip(TEXTS, ("public", "internal", "restricted"), strict=True))
    ]
    return [hit for hit in found if Label.parse(hit.label) <= call.clearance and call.query.split()[0] in hit.text][
        : call.k
    ]


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random Llama that writes a token in well under a millisecond."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("tiny-llama")
    size, layers, heads, inner, vocab = 64, 2, 4, 128, 320
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    rng = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (vocab, size), "lm_head.weight": (vocab, size)}
    tensors = {"model.norm.weight": np.ones(size, np.float32)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{part}_proj.weight": (size, size) for part in "qkvo"}
        shapes |= {f"{at}mlp.{part}_proj.weight": (inner, size) for part in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = (size, inner)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{norm}.weight"] = np.ones(size, np.float32)
    tensors |= {name: rng.normal(0, 0.08, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": size, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads, "vocab_size": vocab,
        "rms_norm_eps": 1e-6, "max_position_embeddings": 2048, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "float32",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "chat_template": template}))
    return folder


@pytest.fixture(scope="session")
def tiny_classifier(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random encoder with a head of three classes."""
    import shutil

    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("classifier") / "model"
    shutil.copytree(tiny_bert, folder)
    rng = np.random.default_rng(1)
    weight = rng.normal(0, 1, (3, 32)).astype(np.float32)
    save_file({"weight": weight, "bias": np.zeros(3, np.float32)}, folder / "head.safetensors")
    card = {"kind": "classify", "classes": ["card", "money", "other"], "base": "tiny", "description": "random"}
    (folder / "tokenworks.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def house(tiny_llama: Path, tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway that serves `complete` (internal), `route` (a classifier), `secret` (restricted) and `broken`."""
    folders = {"complete@1": tiny_llama, "route@1": tiny_classifier, "secret@1": tiny_llama}
    opened = House(tmp_path_factory.mktemp("house"), folders, ServerSettings(max_body_mb=12.0))
    try:
        for model, label, kind in [("complete", "internal", "complete"), ("route", "public", "classify")]:
            opened.release(model, label=label, kind=kind)
        opened.release("secret", label="restricted")
        opened.release("broken")
        opened.run(opened.pool.ready("complete@1"))
        opened.run(opened.pool.ready("route@1"))
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis process of this worker's own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared_redis(redis_server: RedisServer) -> str:
    """The address of that Redis."""
    return redis_server.url
