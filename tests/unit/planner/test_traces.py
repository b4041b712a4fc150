"""The three formats of traces, by tiny files of their columns; files that are none."""

import pytest

from cascadia_sglang.errors import WorkloadError
from cascadia_sglang.planner.traces import load_trace

OWN = "timestamp,input_tokens,output_tokens,hash_ids\n0.5,10,3,4 5\n2.5,20,6,4\n"
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 23:59:59.5000000,374,44\n2023-11-17 00:00:01.7500001,396,109\n"
)
MOONCAKE = (
    '{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}\n'
    '{"timestamp": 1500, "input_length": 600, "output_length": 7, "hash_ids": [0, 3]}\n'
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
        ("timestamp,input_tokens,output_tokens\n0,10,3\nnan,10,3\n", "the timestamp is nan"),
        ("timestamp,input_tokens,output_tokens\n0,10,3\n1,10\n", "line 3 '1,10'"),
        (AZURE.replace("374", "-1"), "request 0: input_tokens is -1"),
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


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(WorkloadError, match="No such file"):
        load_trace(tmp_path / "none.csv")
