"""Rows by number: a reader misses none, and gets none twice."""

import json
import random

import msgspec

from cascadia_sglang.page.history import EncodedRows


def test_a_reader_that_asks_at_any_time_gets_every_row_that_is_kept() -> None:
    rng, rows, written, read = random.Random(0), EncodedRows(10), [], []
    last_number = 0
    for step in range(300):
        rows.add({"step": step})
        written.append(step)
        if rng.random() < 0.3:
            got = [json.loads(bytes(raw)) for raw in rows.after(last_number)]
            expected = [s for s in written if s + 1 > last_number][-10:]
            assert [row["step"] for row in got] == expected
            assert [row["number"] for row in got] == [step + 1 for step in expected]
            last_number = rows.number
            read += got
    assert rows.after(rows.number) == []


def test_a_reader_of_an_earlier_run_gets_all() -> None:
    rows = EncodedRows(3)
    rows.add({})
    assert len(rows.after(7)) == 1
    assert len(rows.after(-1)) == 1


def test_rows_are_encoded_once_and_stay_valid_inside_an_answer() -> None:
    rows = EncodedRows(3)
    rows.add({"at": 1.5, "flows": {"entry/small": 2}})
    encoded = json.loads(msgspec.json.encode({"rows": rows.after(0)}))
    assert encoded == {"rows": [{"number": 1, "at": 1.5, "flows": {"entry/small": 2}}]}
