"""Servers for the tests of this folder."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import httpx
import msgspec
import numpy as np
import pytest
import yaml

from cascadia_sglang.entry.features import prompt_features
from cascadia_sglang.entry.model import (
    EntryModel,
    TierChance,
    save_entry_model,
    vocabulary_fingerprint,
)
from cascadia_sglang.judge.calibration import load_calibration, save_calibration
from cascadia_sglang.judge.features import FEATURES
from cascadia_sglang.judge.watch.features import FeatureSummary
from cascadia_sglang.planner.thresholds.sample import PlanSample, SampleRow
from demo.tasks.tokenizer import VOCABULARY, build_tokenizer
from tests.system.serving import CASCADE, ROOT, Server, start

KEY = "secret"
ADMIN = {"authorization": f"Bearer {KEY}"}
# Prompts with this character skip the small tier of the shared demo.
SKIPS_SMALL = "~"
_BITS = 12


def _end_as_ctrl_c_does(number: int, frame: FrameType | None) -> None:
    """Servers have sessions of their own, so SIGTERM must take every fixture down.

    `make` may send it a second time, which must not cut that short.
    """
    signal.signal(number, signal.SIG_IGN)
    signal.default_int_handler(number, frame)


signal.signal(signal.SIGTERM, _end_as_ctrl_c_does)


def save_entry(path: Path) -> None:
    """An entry model of the small and the large tier that skips for one character alone."""
    weights_B = np.zeros(1 << _BITS, dtype="<f4")
    weights_B[prompt_features([VOCABULARY[SKIPS_SMALL]], 1, _BITS)[0]] = -1000.0
    small = TierChance(weights=weights_B.tobytes(), length_weight=0.0, bias=20.0, skip_below=0.5)
    model = EntryModel(
        version=1,
        tiers=["small", "large"],
        vocabulary=vocabulary_fingerprint(build_tokenizer().get_vocab()),
        ngrams=1,
        bits=_BITS,
        chances=[small],
        samples=1,
        report={},
    )
    save_entry_model(model, path)


def save_watched(path: Path, source: Path) -> None:
    """A calibration with a summary of features that no real answer has."""
    calibration = load_calibration(source)
    count = len(FEATURES)
    summary = FeatureSummary(
        mean=[100.0] * count,
        scale=[1.0] * count,
        correlation=np.eye(count).tolist(),
        samples=1000,
        limit=40.0,
    )
    save_calibration(msgspec.structs.replace(calibration, feature_summary=summary), path)


def save_sample(path: Path) -> None:
    """A planner's sample of two tiers, whose prompts are longer than any of the demo's."""
    rng = np.random.default_rng(0)
    rows = [
        SampleRow(
            scores=[score := float(rng.random())],
            correct=[float(rng.random() < score), float(rng.random() < 0.97)],
            input_tokens=1500,
            output_tokens=[400, 400],
        )
        for _ in range(400)
    ]
    sample = PlanSample(version=1, tiers=["small", "large"], rows=rows)
    path.write_bytes(msgspec.json.encode(sample))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo cascade, its entry predicted and its features watched, shared by the tests that
    leave it as it is."""
    folder = tmp_path_factory.mktemp("demo")
    save_entry(folder / "entry.json")
    cascade = yaml.safe_load((ROOT / CASCADE[-1]).read_text())
    save_watched(folder / "small.json", ROOT / cascade["tiers"][0]["calibration"])
    cascade["tiers"][0]["calibration"] = str(folder / "small.json")
    cascade["routing"] |= {"entry": "predicted", "entry_model": str(folder / "entry.json")}
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(cascade))
    server = start(folder, *CASCADE[:-1], str(path))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def default_cascade(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The cascade file of these tests as it is, shared by slow tests that leave it as it is."""
    # Imported here, for it takes seconds: the bodies are made from all schemas of SGLang.
    from bench.router.fuzz import FLAGS

    server = start(tmp_path_factory.mktemp("default"), *CASCADE, *FLAGS)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers of the small tier and one of the large, on four devices in name.

    Shared by the tests that change it and put it back.
    """
    folder = tmp_path_factory.mktemp("fleet")
    cascade = yaml.safe_load((ROOT / CASCADE[-1]).read_text())
    cascade["tiers"][0]["replicas"] = 2
    profile = json.loads((ROOT / "bench/planner/emulated.json").read_text())
    limits = {"kv_tokens": 65536, "max_running_requests": 32}
    profile["limits"] = dict.fromkeys(("small", "large"), limits)
    (folder / "profile.json").write_text(json.dumps(profile))
    save_sample(folder / "sample.json")
    cascade["planner"] = {
        "enabled": True,
        "interval_s": 600,
        "gpu_budget": 4,
        "profile": str(folder / "profile.json"),
        "sample": str(folder / "sample.json"),
    }
    path = folder / "cascade.json"
    path.write_text(json.dumps(cascade))
    server = start(folder, *CASCADE[:-1], str(path), "--enable-metrics", "--admin-api-key", KEY)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cascade whose large tier writes until it is stopped.

    Shared by the tests that end its processes. It mends itself, until the last test of
    `test_faults` ends the server.
    """
    folder = tmp_path_factory.mktemp("breakable")
    cascade = yaml.safe_load((ROOT / CASCADE[-1]).read_text())
    cascade["tiers"][1]["sampling"] = {"ignore_eos": True}
    path = folder / "cascade.yaml"
    path.write_text(yaml.safe_dump(cascade))
    server = start(folder, *CASCADE[:-1], str(path))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def admin(fleet: Server) -> Iterator[httpx.Client]:
    """A client of that server with the admin key."""
    with fleet.client(timeout=60) as client:
        client.headers.update(ADMIN)
        yield client
