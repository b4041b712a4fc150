"""Records: kept whole, read back, and turned into arrays."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from cascadia_sglang.calibration.record.pool import Pool
from cascadia_sglang.calibration.record.records import Record, RecordFile, pool_of
from cascadia_sglang.calibration.record.sample import Question
from cascadia_sglang.errors import CalibrationError
from cascadia_sglang.judge.features import FEATURES

WIDTH = len(FEATURES)


def record(name: str, tokens: list[int], digest: str = "x") -> Record:
    rows: list[list[float | None]] = [[float(count)] * WIDTH for count in tokens]
    return Record(
        id=name, tier="small", asked=digest, text="t", tokens=tokens, features=rows, seconds=0.1
    )


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with RecordFile(path, Record) as file:
        assert file.load() == {}
        file.append(record("a", [2, 3]))
        file.append(record("b", [1]))
    with RecordFile(path, Record) as file:
        file.append(record("a", [2, 4], digest="y"))
        records = file.load()
    assert [key[1:] for key in records] == [("a", "x"), ("b", "x"), ("a", "y")]
    assert records["small", "a", "x"] == record("a", [2, 3])


def test_a_line_cut_off_by_a_kill_is_dropped_and_the_file_goes_on_whole(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with RecordFile(path, Record) as file:
        file.append(record("a", [1]))
        file.append(record("b", [1]))
    path.write_bytes(path.read_bytes()[:-20])
    with RecordFile(path, Record) as file:
        assert [key[1] for key in file.load()] == ["a"]
        file.append(record("c", [1]))
        assert [key[1] for key in file.load()] == ["a", "c"]


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with RecordFile(path, Record) as file:
        file.append(record("a", [1]))
    path.write_bytes(path.read_bytes() + b'{"id": "b"}\n')
    with pytest.raises(CalibrationError, match="line 2"):
        RecordFile(path, Record).load()


def test_arrays_hold_the_end_and_what_still_ran_before() -> None:
    questions = [
        Question(id="a", prompt="x", group="g"),
        Question(id="b", prompt="y", constraint={"regex": "z"}),
        Question(id="c", prompt="w"),
    ]
    nothing: list[float | None] = [None] * WIDTH
    forced = Record(
        id="c", tier="small", asked="x", text="", tokens=[2], features=[nothing], seconds=0.1
    )
    records = [record("a", [2, 4, 5]), record("b", [2]), forced]
    pool = pool_of(questions, [records], [[True, False, True]])
    (tier,) = pool.tiers
    np.testing.assert_array_equal(tier.features_NF[:, 0], [5, 2, np.nan])
    # b ended with its second token, so that no judge ever looked at its first two alone.
    np.testing.assert_array_equal(tier.prefix_NF[2][:, 0], [2, np.nan, np.nan])
    np.testing.assert_array_equal(tier.prefix_NF[4][:, 0], [4, np.nan, np.nan])
    assert pool.groups == ("g", None, None)
    assert pool.constrained_N.tolist() == [False, True, False]
    assert pool.right()[:, 0].tolist() == [True, False, True]


def test_answers_are_compared_with_the_last_tiers_word_by_word() -> None:
    questions = [Question(id=name, prompt="x") for name in "abc"]
    small, last = (
        [msgspec.structs.replace(record("a", [2]), text=text) for text in texts]
        for texts in (("4690", "a  b", "a b"), ("4690", "a b\n", "ab"))
    )
    pool = pool_of(questions, [small, last], [[True] * 3] * 2)
    assert [tier.same_N.tolist() for tier in pool.tiers] == [[True, True, False], [True] * 3]
    again = Pool.concatenated([pool.take(np.array([2])), pool.take(np.array([0]))])
    assert again.tiers[0].same_N.tolist() == [False, True]


def test_hidden_states_are_rows_and_an_answer_without_one_is_unknown(tmp_path: Path) -> None:
    state_H = np.array([1.5, -2.0, 0.25], dtype="<f2")
    known = msgspec.structs.replace(record("a", [2]), hidden=state_H.tobytes())
    path = tmp_path / "records.jsonl"
    with RecordFile(path, Record) as file:
        file.append(known)
    [read] = RecordFile(path, Record).load().values()
    assert read == known
    questions = [Question(id=name, prompt=name) for name in "abc"]
    endless = np.array([1.5, np.inf, 0.25], dtype="<f2").tobytes()
    own = [read, record("b", [2]), msgspec.structs.replace(record("c", [2]), hidden=endless)]
    tier = pool_of(questions, [own], [[True, False, True]]).tiers[0]
    assert tier.hidden_NH is not None
    np.testing.assert_array_equal(tier.hidden_NH, [state_H, *[[np.nan] * 3] * 2])
    assert tier.take(np.array([1])).hidden_NH.shape == (1, 3)  # type: ignore[union-attr]
    assert pool_of(questions[:1], [own[1:2]], [[True]]).tiers[0].hidden_NH is None
