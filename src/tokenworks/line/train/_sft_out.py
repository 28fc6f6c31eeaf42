"""Write a tuned model as a Hugging Face folder that stands alone, and its adapter as one that an engine can load."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.ids import canonical_json
from tokenworks.core.stage import Bench
from tokenworks.line.train._sft import Recipe, Trainee, load_base, with_adapter

# What a tokenizer may consist of. Weights and config are written anew; anything else stays behind.
COPIED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "chat_template.jinja", "LICENSE", "LICENSE.txt", "NOTICE",
)  # fmt: skip


def write_product(
    bench: Bench, base: Path, learner: Trainee, recipe: Recipe, *, template: str, card: dict[str, Any], base_name: str
) -> dict[str, str]:
    """Store the trained model, and its adapter where there is one; return their digests by output.

    `template` is added where the base has none; `base_name` is what the adapter says it belongs to.
    """
    bench.progress(recipe.steps, recipe.steps, unit="steps", note="writing the model")
    folder = bench.scratch / "model"
    write_model(folder, base, learner, recipe)
    if template:
        write_template(folder, template)
    write_card(folder, card)
    outputs = {"model": bench.artifacts.put_folder(folder)}
    if recipe.method == "lora":
        write_adapter(bench.scratch / "adapter", learner, base=base_name)
        outputs["adapter"] = bench.artifacts.put_folder(bench.scratch / "adapter")
    return outputs


def write_model(folder: Path, base: Path, learner: Trainee, recipe: Recipe) -> None:
    """Replace `folder` by the tuned model, adapters merged into the weights of `base` at full precision."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = learner.model
    if recipe.method == "lora":
        model = merged(base, learner, recipe)
    model.config.use_cache = True
    model.save_pretrained(folder, safe_serialization=True)
    for name in COPIED:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def merged(base: Path, learner: Trainee, recipe: Recipe) -> Any:
    """Return `base` at f32 with the trained adapter added to its weights: the frozen ones may have been bf16."""
    import torch

    whole = load_base(base)
    wrapped = with_adapter(whole, recipe.rank)
    with torch.no_grad():
        for name, value in whole.named_parameters():
            if name in learner.trained:
                value.copy_(learner.trained[name])
    return wrapped.merge_and_unload()


def write_template(folder: Path, template: str) -> None:
    """Put a chat template into the folder's tokenizer_config.json, where every engine looks for it."""
    path = folder / "tokenizer_config.json"
    config = msgspec.json.decode(path.read_bytes()) if path.is_file() else {}
    path.write_bytes(msgspec.json.format(msgspec.json.encode({**config, "chat_template": template}), indent=2) + b"\n")


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write `tokenworks.json`: what the folder is, in the factory's words."""
    (folder / "tokenworks.json").write_bytes(msgspec.json.format(canonical_json(card), indent=2) + b"\n")


def write_adapter(folder: Path, learner: Trainee, *, base: str) -> None:
    """Replace `folder` by the adapter alone, in peft's format: equal weights give equal bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    learner.wrapped.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
    path = folder / "adapter_config.json"
    config = msgspec.json.decode(path.read_bytes())
    config["base_model_name_or_path"] = base
    # peft keeps the layers as a set, whose order changes from process to process.
    config["target_modules"] = sorted(config["target_modules"])
    path.write_bytes(msgspec.json.format(canonical_json(config), indent=2) + b"\n")
