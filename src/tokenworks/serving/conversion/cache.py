"""Converted models on disk, by the hash of what they were made from; safe with many processes and with `kill -9`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tokenworks.core.errors import EngineError
from tokenworks.core.files import locked, sync_folder
from tokenworks.core.ids import canonical_json
from tokenworks.serving.conversion.llama import LlamaGraph
from tokenworks.serving.conversion.probe import probe_model
from tokenworks.serving.conversion.shape import read_shape
from tokenworks.serving.conversion.vocabulary import vocabulary_model
from tokenworks.serving.conversion.weights import read_weights
from tokenworks.serving.folder import ModelFolder
from tokenworks.serving.tokens import Tokens

PROBE = "probe"  # the subfolder of the model that grammars are proven on
VERSION = "3"  # of the graph: a new one leaves old conversions behind


@contextlib.contextmanager
def converted(folder: ModelFolder, tokens: Tokens, precision: str, cache: str) -> Iterator[Path]:
    """Give a folder with the OpenVINO model of `folder`, made now or found in `cache`.

    Without a cache it is a temporary folder that is gone afterwards: the engine has its bytes by then.
    """
    if not cache:
        with tempfile.TemporaryDirectory(prefix="tokenworks-openvino-") as name:
            convert(folder, tokens, precision, Path(name))
            yield Path(name)
        return
    key = conversion_key(folder.path, precision)
    target, draft = Path(cache) / key, Path(cache) / f".draft-{key}"
    with locked(Path(cache) / f".lock-{key}"):
        if not target.exists():
            shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
            draft.mkdir(parents=True)
            convert(folder, tokens, precision, draft)
            _make_durable(draft)
            draft.rename(target)
            sync_folder(target.parent)
    yield target


def conversion_key(folder: Path, precision: str) -> str:
    """Return 32 hexadecimal characters that name the model's bytes, the precision and the converter."""
    import openvino as ov  # its version decides how a graph is written

    digest = hashlib.sha256(f"{VERSION} {precision} {ov.get_version()}".encode())
    for file in sorted(folder.iterdir()):
        if file.name in {"config.json", "tokenizer.json"} or ".safetensors" in file.name:
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


def convert(folder: ModelFolder, tokens: Tokens, precision: str, target: Path) -> None:
    """Write the graph, the vocabulary and the token ids that OpenVINO GenAI looks for into `target`."""
    import openvino as ov  # heavy: only the process that converts loads it

    weights = read_weights(folder.path)
    try:
        graph = LlamaGraph(read_shape(folder.config), weights, precision).build()
    except KeyError as error:
        raise EngineError(
            f"{folder.path} lacks the tensor {error}; its weights do not belong to its config.json"
        ) from None
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise EngineError(f"{folder.path}: weights and config.json contradict each other ({first})") from error
    ov.save_model(graph, target / "openvino_model.xml", compress_to_fp16=False)
    stop = {"eos_token_id": folder.stop_ids[0]} if folder.stop_ids else {}
    facts = canonical_json({"model_type": "llama", **stop})
    vocabulary = vocabulary_model(tokens.raw_vocabulary())
    (target / PROBE).mkdir()
    ov.save_model(probe_model(int(folder.config["vocab_size"])), target / PROBE / "openvino_model.xml")
    for place in (target, target / PROBE):
        ov.save_model(vocabulary, place / "openvino_detokenizer.xml")
        (place / "config.json").write_bytes(facts)


def _make_durable(folder: Path) -> None:
    for file in folder.rglob("*"):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_folder(folder)
