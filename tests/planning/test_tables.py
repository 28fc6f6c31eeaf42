"""Shapes of models and machines: published totals, helped names, one's own tables."""

from __future__ import annotations

import msgspec
import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.planning.configs import read_config
from tokenworks.planning.tables import read_tables

# Billions of weights, all and active, as the makers publish them.
PUBLISHED = {
    "llama-3.1-8b": (8.03, 7.5), "llama-3.1-70b": (70.6, 69.5), "llama-3.1-405b": (405.9, 403.8),
    "gpt-oss-120b": (116.8, 5.1), "gpt-oss-20b": (20.9, 3.6), "deepseek-v3": (671, 37), "qwen3-235b-a22b": (235, 22),
    "qwen3-30b-a3b": (30.5, 3.3), "qwen3-0.6b": (0.6, 0.6), "kimi-k2": (1026, 32), "glm-5": (744, 40),
    "minimax-m2": (230, 10), "mixtral-8x7b": (46.7, 12.9), "qwen3.5-397b-a17b": (397, 17), "gemma-3-27b": (27, 27),
}  # fmt: skip


@pytest.fixture(scope="module")
def tables():
    return read_tables()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shape_adds_up_to_the_published_weights(tables, name):
    total, active = PUBLISHED[name]
    assert tables.model(name).total / 1e9 == pytest.approx(total, rel=0.02)
    assert tables.model(name).active / 1e9 == pytest.approx(active, rel=0.09)


@pytest.mark.parametrize(
    "name",
    ["meta-llama/Llama-3.1-8B-Instruct", "nvidia/Llama-3.1-8B-Instruct-FP8", "llama-3-8b", "LLAMA-3.1-8B"],
)
def test_a_model_is_found_under_its_makers_names(tables, name):
    assert tables.model(name) == tables.models["llama-3.1-8b"]


def test_an_unknown_model_is_helped(tables):
    with pytest.raises(
        ConfigError, match=r"model 'lama-3.1-8b' is not known; did you mean 'llama-3.1-8b'.*\[models.NAME\]"
    ):
        tables.model("lama-3.1-8b")


def test_an_unknown_machine_is_helped(tables):
    with pytest.raises(ConfigError, match=r"machine 'h1000'.*did you mean 'h100'.*\[machines.NAME\]"):
        tables.machine("h1000")


def test_ones_own_tables_lie_over_those_of_the_package(tmp_path):
    (tmp_path / "machines.toml").write_text("[h100]\nbf16_tflops = 1\nmemory_gb = 2\nbandwidth_tb_s = 3\n")
    own = read_tables(tmp_path)
    assert own.machine("h100").memory_gb == 2
    assert own.machine("h200").memory_gb == 141


def test_a_wrong_key_in_a_table_is_named(tmp_path):
    (tmp_path / "machines.toml").write_text("[h100]\nbf16_tflops = 1\nmemory = 2\nbandwidth_tb_s = 3\n")
    with pytest.raises(ConfigError, match="unknown key 'memory'; did you mean 'memory_gb'"):
        read_tables(tmp_path)


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="neither models"):
        read_tables(tmp_path)


def test_a_config_json_gives_the_shape_of_the_table(tmp_path, tables):
    config = {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "head_dim": 128,
    }  # fmt: skip
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(config))
    found, known = read_config(tmp_path), tables.model("llama-3.1-8b")
    assert (found.total, found.active, found.kv_width) == (known.total, known.active, known.kv_width)


def test_a_config_of_experts_and_latent_attention_gives_the_shape_of_the_table(tmp_path, tables):
    config = {
        "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
        "num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280, "kv_lora_rank": 512,
        "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1, "first_k_dense_replace": 3,
    }  # fmt: skip
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(config))
    found, known = read_config(tmp_path / "config.json"), tables.model("deepseek-r1")
    assert (found.total, found.active, found.kv_width) == (known.total, known.active, known.kv_width)


def test_a_config_that_lacks_something_names_it(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    with pytest.raises(ConfigError, match="no num_hidden_layers, num_attention_heads, vocab_size"):
        read_config(tmp_path)
