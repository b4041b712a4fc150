"""What the `x-cascadia-*` headers ask for."""

import pytest

from cascadia_sglang.errors import RequestError
from cascadia_sglang.router.controls import Controls, parse_controls
from cascadia_sglang.testing.engine import make_cascade

CASCADE = make_cascade("small", "middle", "large")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Controls()),
        ({"accept": "text/plain", "x-other": "1"}, Controls()),
        ({"x-cascadia-tier": "small"}, Controls(tier=0)),
        ({"x-cascadia-tier": " large "}, Controls(tier=2)),
        ({"x-cascadia-max-tier": "middle"}, Controls(max_tier=1)),
        ({"x-cascadia-max-tier": "small"}, Controls(max_tier=0)),
        ({"x-cascadia-threshold": "0"}, Controls(threshold=0.0)),
        ({"x-cascadia-threshold": "1.0"}, Controls(threshold=1.0)),
        ({"x-cascadia-threshold": "7e-1"}, Controls(threshold=0.7)),
        ({"x-cascadia-deadline-ms": "1500"}, Controls(deadline_s=1.5)),
        ({"x-cascadia-deadline-ms": "0.5"}, Controls(deadline_s=0.0005)),
        ({"x-cascadia-allow-degraded": "true"}, Controls(allow_degraded=True)),
        ({"x-cascadia-allow-degraded": "false"}, Controls(allow_degraded=False)),
        ({"x-cascadia-keep-alive": "0"}, Controls(keep_alive_s=0.0)),
        ({"x-cascadia-keep-alive": "2.5"}, Controls(keep_alive_s=2.5)),
        ({"x-cascadia-stream": "buffered"}, Controls(stream="buffered")),
        ({"x-cascadia-stream": "commit"}, Controls(stream="commit")),
        (
            {"x-cascadia-max-tier": "middle", "x-cascadia-threshold": "0.5"},
            Controls(max_tier=1, threshold=0.5),
        ),
    ],
    ids=lambda case: (
        "+".join(f"{k}={v}" for k, v in case.items()) if isinstance(case, dict) else ""
    ),
)
def test_headers_become_controls(headers: dict[str, str], expected: Controls) -> None:
    assert parse_controls(headers, CASCADE) == expected


@pytest.mark.parametrize(
    ("header", "value", "allowed"),
    [
        ("x-cascadia-tier", "huge", "small, middle, large"),
        ("x-cascadia-tier", "", "small, middle, large"),
        ("x-cascadia-tier", "Small", "small, middle, large"),
        ("x-cascadia-tier", "cascadia", "small, middle, large"),
        ("x-cascadia-max-tier", "2", "small, middle, large"),
        ("x-cascadia-threshold", "1.01", "0 to 1"),
        ("x-cascadia-threshold", "-0.1", "0 to 1"),
        ("x-cascadia-threshold", "nan", "0 to 1"),
        ("x-cascadia-threshold", "high", "0 to 1"),
        ("x-cascadia-threshold", "0.5,0.6", "0 to 1"),
        ("x-cascadia-deadline-ms", "0", "above 0"),
        ("x-cascadia-deadline-ms", "-5", "above 0"),
        ("x-cascadia-deadline-ms", "inf", "above 0"),
        ("x-cascadia-deadline-ms", "1s", "above 0"),
        ("x-cascadia-allow-degraded", "yes", "true, false"),
        ("x-cascadia-allow-degraded", "1", "true, false"),
        ("x-cascadia-keep-alive", "0.01", "0, or 0.1 to 3600 seconds"),
        ("x-cascadia-keep-alive", "nan", "0, or 0.1 to 3600 seconds"),
        ("x-cascadia-stream", "instant", "buffered, commit, direct"),
    ],
)
def test_a_malformed_control_is_a_400_with_its_name_value_and_what_is_allowed(
    header: str, value: str, allowed: str
) -> None:
    with pytest.raises(RequestError) as raised:
        parse_controls({header: value}, CASCADE)
    assert (raised.value.status, raised.value.param) == (400, header)
    assert header in str(raised.value)
    assert repr(value) in str(raised.value)
    assert allowed in str(raised.value)


def test_a_misspelt_control_is_a_400_with_the_names_there_are() -> None:
    with pytest.raises(RequestError) as raised:
        parse_controls({"x-cascadia-treshold": "0.5"}, CASCADE)
    assert (raised.value.status, raised.value.param) == (400, "x-cascadia-treshold")
    assert "x-cascadia-threshold" in str(raised.value)
