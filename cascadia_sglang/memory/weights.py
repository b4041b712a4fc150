"""Bytes of a model's weights, read from its files without loading them."""

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.files.json_text import read_json_object
from cascadia_sglang.planner.speed.roofline import load_shape

_INDEX = "model.safetensors.index.json"
# A header is a few megabytes at most; a larger length means another kind of file.
_MAX_HEADER_BYTES = 100 * 2**20
# Plain floating point: SGLang casts these to the type it serves in. Others stay as they are.
_CAST_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "float16": 2, "bfloat16": 2, "float32": 4}


def weight_bytes(folder: Path, served_bytes: int | None = None) -> float:
    """Bytes of a model's weights in memory, on all of its devices together.

    They come from the headers of the safetensors files, or from the index where the files are not
    there, or from the sizes of other weight files, or from the shape in `config.json`.

    Args:
        served_bytes: of a floating-point parameter when it is served; None as it is stored.

    Raises:
        ConfigError: if a file is damaged, or nothing tells the size; names the file.
    """
    index, files = _index(folder), _files(folder)
    if files and all(file.is_file() for file in files):
        return sum(
            stored * _scale(dtype, served_bytes)
            for file in files
            for dtype, stored, _ in _tensors(file)
        )
    dtype = _stored_dtype(folder)
    total = index.get("metadata", {}).get("total_size")
    if isinstance(total, int | float):
        return total * _scale(dtype, served_bytes)
    for pattern in ("*.bin", "*.pt", "*.gguf"):
        all_bytes = sum(file.stat().st_size for file in folder.glob(pattern))
        if all_bytes:
            return all_bytes * _scale(dtype, served_bytes)
    shape = load_shape(folder)
    return shape.parameters * shape.weight_bytes * _scale(dtype, served_bytes)


def parameter_count(folder: Path) -> float | None:
    """How many parameters a model has; None where nothing tells.

    They come from the headers of the safetensors files; of quantized weights, or where the files
    are not there, from the shape in `config.json`.
    """
    config = folder / "config.json"
    is_quantized = config.is_file() and "quantization_config" in read_json_object(config)
    files = [] if is_quantized else _files(folder)
    if files and all(file.is_file() for file in files):
        return float(sum(count for file in files for _, _, count in _tensors(file)))
    try:
        return load_shape(folder).parameters
    except ConfigError:
        return None


def kv_bytes_of(folder: Path, *, tp_size: int, pp_size: int, served_bytes: int = 2) -> float | None:
    """Bytes of a token's keys and values on each device of a replica.

    None for a model of another kind than the rooflines know.
    """
    try:
        shape = load_shape(folder)
    except ConfigError:
        return None
    return shape.kv_bytes * served_bytes / 2 / (pp_size * min(tp_size, shape.kv_shards))


def _scale(dtype: str | None, served_bytes: int | None) -> float:
    stored = None if dtype is None else _CAST_BYTES.get(dtype)
    return 1.0 if stored is None or served_bytes is None else served_bytes / stored


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a model, as its index names them or as they lie there."""
    named = sorted(set(_index(folder).get("weight_map", {}).values()))
    if named:
        return [folder / name for name in named]
    return sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))


def _tensors(file: Path) -> Iterator[tuple[str, int, int]]:
    """Type, stored bytes and number of values of every tensor of a safetensors file."""
    for name, tensor in _header(file).items():
        if name == "__metadata__":
            continue
        try:
            start, end = tensor["data_offsets"]
            yield str(tensor["dtype"]), int(end) - int(start), math.prod(tensor["shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{file}: tensor {name!r} has no type and place") from error


def _header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > _MAX_HEADER_BYTES:
                raise ValueError(f"its header has {length} bytes")
            header: dict[str, Any] = json.loads(opened.read(length))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (ValueError, struct.error) as error:
        raise ConfigError(f"{file} is no safetensors file: {error}") from error
    return header


def _index(folder: Path) -> dict[str, Any]:
    path = folder / _INDEX
    return read_json_object(path) if path.is_file() else {}


def _stored_dtype(folder: Path) -> str | None:
    """What `config.json` says; None where the weights are quantized, and where it says nothing."""
    path = folder / "config.json"
    config = read_json_object(path) if path.is_file() else {}
    text = config.get("text_config") or {}
    if config.get("quantization_config") or text.get("quantization_config"):
        return None
    names = [section.get(key) for section in (config, text) for key in ("dtype", "torch_dtype")]
    return next((name for name in names if isinstance(name, str)), None)
