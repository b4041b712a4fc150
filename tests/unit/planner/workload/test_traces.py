"""The formats of traces, by tiny files of their columns; files that are none, or too much."""

import gzip
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.workload import traces
from cascadia_sglang.planner.workload.traces import load_trace

OWN = "timestamp,input_tokens,output_tokens,hash_ids\n0.5,10,3,4 5\n2.5,20,6,4\n"
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 23:59:59.5000000,374,44\n2023-11-17 00:00:01.7500001,396,109\n"
)
MOONCAKE = (
    '{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}\n'
    '{"timestamp": 1500, "input_length": 600, "output_length": 7, "hash_ids": [0, 3]}\n'
)
BURST = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n"
    "45,GPT-4,1087,0,1087,Conversation log\n"
    "118,ChatGPT,417,276,693,API log\n"
)
# Two calls of one turn, then a call of another session that came between them.
SESSION = (
    '{"session_id": "a", "date": "2026-06-01", "turns": [{"turn_id": "t", "llm_calls": ['
    '{"timestamp": "2026-06-01T10:00:00Z", "model": "Model A", "duration_ms": 900.5, '
    '"tokens": {"total": 1550, "prompt": 1500, "completion": 50, "cached": 512}}, '
    '{"timestamp": "2026-06-01T10:00:05Z", "model": "Model A", '
    '"tokens": {"prompt": 2100, "completion": 20, "cached": 1024}}], "tool_batches": []}]}\n'
    '{"session_id": "b", "date": "2026-06-01", "turns": [{"turn_id": "u", "llm_calls": ['
    '{"timestamp": "2026-06-01T10:00:02Z", "model": "Model A", '
    '"tokens": {"prompt": 1030, "completion": 9, "cached": 600}}]}]}\n'
)


def _load(folder, text, **options):
    path = folder / "trace"
    path.write_text(text)
    return load_trace(path, **options)


def test_the_own_format_has_seconds_and_ids_between_spaces(tmp_path):
    load = _load(tmp_path, OWN, block_tokens=8)
    assert load.arrival_s_R.tolist() == [0.0, 2.0]
    assert load.input_tokens_R.tolist() == [10, 20]
    assert load.output_tokens_R.tolist() == [3, 6]
    assert load.blocks_P.tolist() == [0, 1, 0]
    assert load.block_tokens == 8


def test_the_own_format_without_ids_knows_no_reuse(tmp_path):
    load = _load(tmp_path, "timestamp,input_tokens,output_tokens\n0,10,3\n1,20,6\n")
    assert len(load.blocks_P) == 0


def test_azures_format_has_dates_with_seven_digits_of_a_second(tmp_path):
    load = _load(tmp_path, AZURE)
    assert load.arrival_s_R.tolist() == pytest.approx([0.0, 2.2500001])
    assert load.input_tokens_R.tolist() == [374, 396]
    assert load.output_tokens_R.tolist() == [44, 109]


def test_mooncakes_format_has_milliseconds_and_blocks_of_512_tokens(tmp_path):
    load = _load(tmp_path, MOONCAKE)
    assert load.arrival_s_R.tolist() == [0.0, 1.5]
    assert load.block_starts_R.tolist() == [0, 3, 5]
    assert load.blocks_P.tolist() == [0, 1, 2, 0, 3]
    assert load.block_tokens == 512


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1 is ''"),
        ("time,in,out\n", "line 1 is 'time,in,out'"),
        ("timestamp,input_tokens,output_tokens\n", "has 0 requests"),
        ("timestamp,input_tokens,output_tokens\n0,10,3\n", "has 1 requests"),
        ("timestamp,input_tokens,output_tokens\n0,10,3\n1,x,3\n", "line 3 '1,x,3'"),
        (
            "timestamp,input_tokens,output_tokens\n0,10,3\nnan,10,3\n",
            "line 3 'nan,10,3': timestamp is nan",
        ),
        ("timestamp,input_tokens,output_tokens\n0,10,3\n1,10\n", "line 3 '1,10'"),
        (AZURE.replace("374", "-1"), "44': ContextTokens is -1, allowed: whole"),
        (
            AZURE.replace("374", "1.5"),
            "line 2 '2023-11-16 23:59:59.5000000,1.5,44': ContextTokens is",
        ),
        (AZURE.replace("374", "9" * 400), "allowed: whole numbers to 1000000000"),
        (AZURE.replace("374", "inf"), "ContextTokens is inf, allowed: whole"),
        (AZURE.replace("2023-11-17 00", "2023-11-17 25"), "TIMESTAMP is '2023-11-17 25:00:01.7500"),
        (
            AZURE.replace("ContextTokens", "NumImages,ContextTokens"),
            "line 1 is 'TIMESTAMP,NumImages",
        ),
        (BURST.replace("Model", "Model,Model"), "line 1 is 'Timestamp,Model,Model"),
        (BURST.replace(",API log", ""), "line 4 '118,ChatGPT,417,276,693': 5 columns, needed: 6"),
        (MOONCAKE.replace("600", "6.5"), "input_length is 6.5, allowed: whole"),
        (MOONCAKE.replace("600", "-6"), "input_length is -6, allowed: whole"),
        (MOONCAKE.replace("600", "true"), "line 2 '{"),
        (MOONCAKE.replace("1500", "NaN"), "line 2 '{"),
        (MOONCAKE.replace("[0, 3]", '"0 3"'), "$.hash_ids"),
        (
            MOONCAKE.replace("1500", "null"),
            "has 1 requests, a rate needs 2 or more; left out 1 wit",
        ),
        (
            SESSION.replace("2026-06-01T10:00:05Z", "later"),
            "turns[0].llm_calls[1]: timestamp is 'la",
        ),
        (
            SESSION.replace('"prompt": 2100', '"prompt": -1'),
            "turns[0].llm_calls[1]: prompt tokens is",
        ),
        ('{"timestamp": 0}\n', "line 1"),
        ('{"timestamp": 0\n', "line 1"),
    ],
)
def test_a_file_that_is_no_trace_is_one_line_with_its_place(tmp_path, text, says):
    with pytest.raises(WorkloadError) as caught:
        _load(tmp_path, text)
    assert says in str(caught.value)
    assert str(tmp_path / "trace") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "moments",
    [
        ("2024-05-10 00:00:00.25+00:00", "2024-05-10 00:00:01+00:00", "2024-05-10 00:00:01.083890"),
        (
            "2024-05-10T00:00:00.25Z",
            "2024-05-10T02:00:01+02:00",
            "2024-05-09T23:00:01.083890-01:00",
        ),
    ],
)
def test_dates_have_a_fraction_and_a_timezone_or_not(tmp_path, moments):
    rows = "".join(f"{moment},10,3\n" for moment in moments)
    load = _load(tmp_path, AZURE.splitlines()[0] + "\n" + rows)
    assert load.arrival_s_R.tolist() == pytest.approx([0.0, 0.75, 0.83389], abs=1e-6)


def test_burstgpts_failed_requests_are_left_out_and_counted(tmp_path, caplog):
    load = _load(tmp_path, BURST)
    assert load.arrival_s_R.tolist() == [0.0, 113.0]
    assert load.output_tokens_R.tolist() == [18, 276]
    assert "left out 1 with 0 Response tokens (first: line 3)" in caplog.text
    second = BURST.replace("Timestamp,", "Timestamp,Session ID,Elapsed time,")
    for stamp in ("5,", "45,", "118,"):
        second = second.replace(f"\n{stamp}", f"\n{stamp},,")
    assert _load(tmp_path, second).input_tokens_R.tolist() == [472, 417]


def test_block_ids_may_be_of_any_width(tmp_path):
    load = _load(tmp_path, MOONCAKE.replace("[0,", f"[{2**64 - 1},").replace("3]", '-3, "x"]'))
    assert load.blocks_P.tolist() == [0, 1, 2, 0, 3, 4]
    load = _load(tmp_path, OWN.replace("4", str(2**130)))
    assert load.blocks_P.tolist() == [0, 1, 0]


def test_rows_without_what_a_request_needs_are_left_out_and_counted(tmp_path, caplog):
    rows = (
        '{"timestamp": 0, "input_length": 655, "output_length": 52, "hash_ids": null}\n'
        '{"timestamp": 900, "input_length": 655, "hash_ids": [1, 2]}\n'
        '{"timestamp": 950, "text_input": "hello", "output_length": 4}\n\n'
        '{"session_id": "s", "delay": 300, "input_length": 700, "output_length": 5}\n'
        '{"session_id": "s", "delay": 400, "input_length": 700, "output_length": 5}\n'
        '{"timestamp": 2000, "input_length": 7, "output_length": 5, "tools": []}\n'
    )
    load = _load(tmp_path, rows)
    assert load.input_tokens_R.tolist() == [655, 7]
    assert len(load.blocks_P) == 0
    assert (
        "left out 1 without output_length (first: line 2), 1 without input_length "
        "(first: line 3), 2 without timestamp (first: line 5)"
    ) in caplog.text


def test_sessions_of_agents_come_in_order_with_the_prefixes_that_were_cached(tmp_path):
    load = _load(tmp_path, SESSION)
    assert load.arrival_s_R.tolist() == [0.0, 2.0, 5.0]
    assert load.input_tokens_R.tolist() == [1500, 1030, 2100]
    assert load.output_tokens_R.tolist() == [50, 9, 20]
    first, other, second = (
        load.blocks_P[start:end].tolist()
        for start, end in itertools.pairwise(load.block_starts_R.tolist())
    )
    # Whole blocks of 512 tokens: 2 of the first prompt, 2 of them cached for the second, and 1
    # that both sessions found.
    assert second[:2] == first
    assert len(second) == 4
    assert other[0] == first[0]
    assert len(other) == 2
    assert len({*first, *other, *second}) == 5


def test_calls_that_failed_are_left_out_of_a_session(tmp_path, caplog):
    text = SESSION.replace('"completion": 20', '"completion": 0').replace(
        '"turns": [{"turn_id": "u', '"t": [{"turn_id": "u'
    )
    more = SESSION.replace(
        '"tokens": {"prompt": 1030, "completion": 9, "cached": 600}', '"tokens": null'
    )
    load = _load(tmp_path, text + more)
    assert len(load) == 3
    assert (
        "left out 1 with 0 completion tokens (first: line 1), 1 without prompt tokens"
        in caplog.text
    )


def test_so_many_requests_after_so_many_others_are_read_and_no_more(tmp_path):
    rows = "".join(f"{number},{number + 1},3\n" for number in range(10))
    text = f"timestamp,input_tokens,output_tokens\n{rows}not a row"
    load = _load(tmp_path, text, requests=3, skip=4)
    assert load.arrival_s_R.tolist() == [0.0, 1.0, 2.0]
    assert load.input_tokens_R.tolist() == [5, 6, 7]
    with pytest.raises(WorkloadError, match="line 12 'not a row'"):
        _load(tmp_path, text)
    with pytest.raises(WorkloadError, match="has 1 requests"):
        _load(tmp_path, f"timestamp,input_tokens,output_tokens\n{rows}", skip=9)


def test_of_sessions_the_first_to_arrive_are_read(tmp_path):
    assert _load(tmp_path, SESSION, requests=2).input_tokens_R.tolist() == [1500, 1030]
    assert _load(tmp_path, SESSION, skip=1).input_tokens_R.tolist() == [1030, 2100]


@given(
    times=st.lists(st.integers(0, 10**9), min_size=2, max_size=12, unique=True),
    draws=st.data(),
)
def test_formats_and_the_order_of_rows_make_no_difference(times, draws):
    """One trace in the own format and Mooncake's, in two orders, plain and compressed."""
    count = len(times)
    lengths = draws.draw(st.lists(st.integers(1, 10**9), min_size=2 * count, max_size=2 * count))
    ids = [draws.draw(st.lists(st.integers(-(2**70), 2**70), max_size=3)) for _ in times]
    rows = list(zip(times, lengths[:count], lengths[count:], ids, strict=True))
    csv_rows = "".join(
        f"{ms / 1000!r},{inputs},{outputs},{' '.join(map(str, hash_ids))}\n"
        for ms, inputs, outputs, hash_ids in rows
    )
    mooncake = "".join(
        json.dumps(
            {
                "timestamp": ms,
                "input_length": inputs,
                "output_length": outputs,
                "hash_ids": hash_ids,
            }
        )
        + "\n"
        for ms, inputs, outputs, hash_ids in draws.draw(st.permutations(rows))
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        path.write_text(f"\ufefftimestamp,input_tokens,output_tokens,hash_ids\n{csv_rows}")
        first = load_trace(path)
        path.write_bytes(gzip.compress(mooncake.encode()))
        second = load_trace(path)
    for name in ("arrival_s_R", "input_tokens_R", "output_tokens_R", "block_starts_R", "blocks_P"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    order = sorted(range(count), key=times.__getitem__)
    assert first.input_tokens_R.tolist() == [lengths[row] for row in order]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "MOST_LINE_CHARACTERS", 1000)
    with pytest.raises(WorkloadError, match="line 2 has 1000 characters or more"):
        _load(tmp_path, "timestamp,input_tokens,output_tokens\n" + "1" * 2000)


def test_a_broken_gzip_file_is_one_line(tmp_path):
    path = tmp_path / "trace"
    whole = gzip.compress(OWN.encode())
    for content in (whole[:-12], whole[:12] + b"xx" + whole[14:]):
        path.write_bytes(content)
        with pytest.raises(WorkloadError, match=r"trace .*: the gzip file is broken"):
            load_trace(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(WorkloadError, match="No such file"):
        load_trace(tmp_path / "none.csv")
