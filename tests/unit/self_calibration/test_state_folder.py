"""The folder goes on from what it holds, and refuses what is not its own."""

import json
from pathlib import Path

import msgspec
import pytest

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.self_calibration.fit import FitQuality
from cascadia_sglang.self_calibration.label import first_rates
from cascadia_sglang.self_calibration.state_folder import (
    KEPT_FITS,
    ActiveFit,
    State,
    StateFolder,
    digest_of,
)
from cascadia_sglang.testing.engine import make_cascade
from tests.unit.judge.judging import make_calibration
from tests.unit.self_calibration.streams import labels_of, lowest, make_traffic

LABELS = labels_of(make_traffic(60, 0), first_rates(0.5), lowest(0.3), 0)
QUALITY = FitQuality(
    labels=9,
    effective=8.0,
    unseen=4,
    auroc=0.8,
    rank_auroc=0.7,
    ece=0.05,
    threshold=0.6,
    accepted=30,
    differed=2,
    bound=0.2,
    needed=29,
)


def opened(path: Path, digest: str = "d", most_bytes: int = 2**20) -> StateFolder:
    folder = StateFolder(path, digest, most_bytes)
    folder.open()
    return folder


def test_labels_come_back_after_a_restart(tmp_path: Path) -> None:
    folder = opened(tmp_path / "new" / "state")
    assert [folder.append(label) for label in LABELS[:3]] == [0, 1, 2]
    folder.close()
    again = opened(tmp_path / "new" / "state")
    assert again.append(LABELS[3]) == 3
    assert again.labels() == list(enumerate(LABELS[:4]))
    assert again.labels(first=2) == [(2, LABELS[2]), (3, LABELS[3])]


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    for label in LABELS[:2]:
        folder.append(label)
    folder.close()
    path = tmp_path / "labels.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + msgspec.json.encode(LABELS[2])[:40])
    again = opened(tmp_path)
    assert path.read_bytes() == whole
    assert again.append(LABELS[2]) == 2
    assert again.labels() == list(enumerate(LABELS[:3]))


def test_a_header_that_was_cut_off_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_bytes(b'{"digest":')
    assert opened(tmp_path).append(LABELS[0]) == 0


def test_reading_leaves_a_line_that_is_being_written_alone(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.append(LABELS[0])
    path = tmp_path / "labels.jsonl"
    with path.open("ab") as file:
        file.write(b'{"prompt"')
    whole = path.read_bytes()
    assert StateFolder(tmp_path, "d").labels() == [(0, LABELS[0])]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", [b"no json\n", b'{"prompt": "p"}\n', b"\n"])
def test_a_whole_line_that_does_not_fit_is_named(tmp_path: Path, line: bytes) -> None:
    folder = opened(tmp_path)
    folder.append(LABELS[0])
    folder.close()
    with (tmp_path / "labels.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(ConfigError, match=r"^state .*labels\.jsonl, line 3: ") as raised:
        opened(tmp_path)
    assert "\n" not in str(raised.value)


def test_the_files_stay_bounded_and_the_labels_count_on(tmp_path: Path) -> None:
    label_bytes = len(msgspec.json.encode(LABELS[0]))
    folder = opened(tmp_path, most_bytes=5 * label_bytes)
    numbers = [folder.append(LABELS[index % len(LABELS)]) for index in range(40)]
    assert numbers == list(range(40))
    total = sum(path.stat().st_size for path in tmp_path.glob("labels*.jsonl"))
    assert total < 13 * label_bytes
    numbers_left = [number for number, _ in folder.labels()]
    assert numbers_left == list(range(numbers_left[0], 40))
    assert 5 <= len(numbers_left) <= 12
    folder.close()
    assert opened(tmp_path, most_bytes=5 * label_bytes).append(LABELS[0]) == 40


@pytest.mark.parametrize("name", ["labels.jsonl", "state.json"])
def test_another_cascades_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = opened(tmp_path)
    folder.append(LABELS[0])
    folder.save_state(State(digest="d"))
    folder.close()
    for path in tmp_path.glob("*.json*"):
        if path.name != name:
            path.unlink()
    with pytest.raises(ConfigError, match="made for other models") as raised:
        opened(tmp_path, digest="other")
    assert name in str(raised.value)


def test_two_servers_cannot_share_a_folder(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    with pytest.raises(ConfigError, match="another server uses it"):
        opened(tmp_path)
    folder.close()
    opened(tmp_path)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"^state .*file: "):
        opened(path)


@pytest.mark.parametrize("text", ["no json", "{}", '{"digest": "d", "more": 1}'])
def test_a_state_that_does_not_fit_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ConfigError, match=r"state\.json: "):
        opened(tmp_path)


def test_fits_come_back_and_the_oldest_go(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    names = [folder.save_fit(0, n, make_calibration(0, 0.0)).name for n in range(1, KEPT_FITS + 3)]
    state = State(digest="d", fits=4, tiers={"0": ActiveFit(file=names[-1], quality=QUALITY)})
    folder.save_state(state)
    folder.close()
    again = StateFolder(tmp_path, "d")
    assert again.open() == state
    [(tier, (path, calibration))] = again.calibrations(state).items()
    assert (tier, path.name, calibration) == (0, names[-1], make_calibration(0, 0.0))
    assert sorted(p.name for p in tmp_path.glob("tier-*")) == names[-KEPT_FITS:]


def test_a_fit_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    state = State(digest="d", tiers={"0": ActiveFit(file="tier-0-0001.json", quality=QUALITY)})
    with pytest.raises(ConfigError, match="tier-0-0001"):
        folder.calibrations(state)


def test_nothing_of_a_prompt_is_in_the_folder(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.append(LABELS[0])
    fields = json.loads((tmp_path / "labels.jsonl").read_text().splitlines()[1])
    assert set(fields) == {"prompt", "chance", "least_chance", "draw", "visits"}
    assert set(fields["visits"][0]) == {"tier", "tokens", "features", "same", "likelihood"}


def test_the_digest_is_of_models_and_their_order_alone() -> None:
    cascade = make_cascade("small", "large")
    turned = msgspec.structs.replace(cascade, tiers=cascade.tiers[::-1])
    changed_tier = msgspec.structs.replace(cascade.tiers[0], prompt_suffix="!")
    suffixed = msgspec.structs.replace(cascade, tiers=[changed_tier, cascade.tiers[1]])
    renamed = msgspec.structs.replace(cascade.tiers[0], name="other", replicas=3)
    same = msgspec.structs.replace(cascade, tiers=[renamed, cascade.tiers[1]])
    assert len({digest_of(config) for config in (cascade, turned, suffixed)}) == 3
    assert digest_of(same) == digest_of(cascade)
