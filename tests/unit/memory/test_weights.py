"""Bytes of a model's weights, by its files."""

import json
import struct
from pathlib import Path

import pytest

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.memory.weights import kv_bytes_of, weight_bytes

CONFIG = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
    "dtype": "bfloat16",
}


def write_tensors(file: Path, tensors: dict[str, tuple[str, int]]) -> None:
    """A safetensors file whose header says so; the data are left out."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": [size], "data_offsets": [end, end + size]}
        end += size
    data = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(data)) + data)


def test_headers_say_what_the_files_hold(tmp_path: Path) -> None:
    write_tensors(tmp_path / "model.safetensors", {"a": ("BF16", 400), "b": ("F32", 800)})
    assert weight_bytes(tmp_path) == 1200
    # Served in 16 bits, the second takes half; in 32, the first takes twice as much.
    assert weight_bytes(tmp_path, served_bytes=2) == 800
    assert weight_bytes(tmp_path, served_bytes=4) == 1600


def test_quantized_tensors_keep_their_size(tmp_path: Path) -> None:
    write_tensors(tmp_path / "model.safetensors", {"a": ("F8_E4M3", 400), "b": ("I32", 80)})
    assert weight_bytes(tmp_path, served_bytes=4) == 480


def test_only_the_shards_of_the_index_count(tmp_path: Path) -> None:
    shards = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    write_tensors(tmp_path / shards["a"], {"a": ("BF16", 400)})
    write_tensors(tmp_path / shards["b"], {"b": ("BF16", 200)})
    write_tensors(tmp_path / "consolidated.safetensors", {"all": ("BF16", 600)})
    index = {"metadata": {"total_size": 600}, "weight_map": shards}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weight_bytes(tmp_path) == 600


def test_an_index_without_its_files_says_the_total(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    index = {"metadata": {"total_size": 16_000_000_000}, "weight_map": {"a": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weight_bytes(tmp_path) == 16e9
    assert weight_bytes(tmp_path, served_bytes=4) == 32e9


def test_a_quantized_model_is_not_cast(tmp_path: Path) -> None:
    config = {**CONFIG, "quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    index = {"metadata": {"total_size": 9e9}, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weight_bytes(tmp_path, served_bytes=4) == 9e9


def test_other_weight_files_count_by_their_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(1000))
    assert weight_bytes(tmp_path) == 1000


def test_without_weight_files_the_shape_tells(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    attention, mlp, tables = 64 * 16 * (2 * 4 + 2 * 2), 3 * 64 * 128, 2 * 100 * 64
    assert weight_bytes(tmp_path) == 2 * (2 * (attention + mlp) + tables)


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, struct.pack("<Q", 4) + b"nope"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{file} is no safetensors file"):
        weight_bytes(tmp_path)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        weight_bytes(tmp_path)


def test_keys_and_values_are_divided_among_ranks_as_far_as_there_are_heads(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    whole = 2 * 2 * 2 * 16 * 2
    assert kv_bytes_of(tmp_path, tp_size=1, pp_size=1) == whole
    assert kv_bytes_of(tmp_path, tp_size=2, pp_size=2) == whole / 4
    assert kv_bytes_of(tmp_path, tp_size=4, pp_size=1) == whole / 2
    assert kv_bytes_of(tmp_path, tp_size=1, pp_size=1, served_bytes=4) == 2 * whole


def test_a_model_of_an_unknown_kind_has_no_known_cache(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert kv_bytes_of(tmp_path, tp_size=1, pp_size=1) is None
