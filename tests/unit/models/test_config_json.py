"""The sizes of a model, from a folder and from the hub's cache, as SGLang names both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.models.config_json import read_model_config
from cascadia_sglang.models.hub_check import is_hub_name

# As Qwen publishes it for Qwen3-0.6B.
QWEN3_SMALL = {
    "num_hidden_layers": 28,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}


def _cached(hub: Path, name: str) -> None:
    """Lay a model's config where the hub's client keeps what it has fetched."""
    folder = hub / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(QWEN3_SMALL))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)


def _profiled(tmp_path: Path, model: str) -> subprocess.CompletedProcess[str]:
    cascade = tmp_path / "cascade.json"
    tiers = [{"name": "only", "model_path": model}]
    cascade.write_text(json.dumps({"version": 1, "tiers": tiers}))
    words = ["profile", str(cascade), "--out", str(tmp_path / "out.json"), "--gpu", "H100"]
    # The client reads its settings when it is imported.
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    main = f"import sys; from cascadia_sglang.cli import main; sys.exit(main({words!r}))"
    return subprocess.run(
        [sys.executable, "-c", main],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
        check=False,
    )


def test_a_hub_name_is_estimated_as_its_folder_is(tmp_path):
    _cached(tmp_path / "hub", "Qwen/Qwen3-0.6B")
    assert _profiled(tmp_path, "Qwen/Qwen3-0.6B").returncode == 0
    by_name = (tmp_path / "out.json").read_text()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3_SMALL))
    assert _profiled(tmp_path, str(folder)).returncode == 0
    assert by_name == (tmp_path / "out.json").read_text()


def test_a_hub_name_that_is_nowhere_is_one_line(tmp_path):
    done = _profiled(tmp_path, "Qwen/none")
    assert done.returncode == 2
    assert "Qwen/none is no folder and not in the hub's cache" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_a_config_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json: No such file"):
        read_model_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match="an object is needed"):
        read_model_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "may_be"),
    [("Qwen/Qwen3-8B", True), ("/models/small", False), ("demo/models/small", False)],
)
def test_a_hub_name_has_an_owner(name, may_be):
    assert is_hub_name(name) is may_be
