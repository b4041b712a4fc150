"""What a request's `model` means."""

import msgspec
import pytest

from cascadia_sglang.errors import RequestError
from cascadia_sglang.router.model_names import ModelName, listed_names, read_model
from cascadia_sglang.testing.engine import make_cascade

CASCADE = make_cascade("small", "middle", "large")


@pytest.mark.parametrize(
    ("model", "tier", "for_handler"),
    [
        (None, None, ""),
        ("", None, ""),
        ("default", None, "default"),
        ("cascadia", None, "cascadia"),
        (" cascadia ", None, "cascadia"),
        ("cascadia:latest", None, "cascadia"),
        ("cascadia:adapter", None, "cascadia:adapter"),
        ("my-server", None, "my-server"),
        ("my-server:adapter", None, "my-server:adapter"),
        (":adapter", None, ":adapter"),
        ("small", 0, "small"),
        ("small:latest", 0, "small"),
        ("large", 2, "large"),
        ("middle:adapter", 1, "middle:adapter"),
        ("/models/middle", 1, "/models/middle"),
    ],
)
def test_a_name_means_the_cascade_or_a_tier(
    model: str | None, tier: int | None, for_handler: str
) -> None:
    assert read_model(model, "my-server", CASCADE) == ModelName(tier, for_handler)


def test_a_served_name_may_hold_a_colon() -> None:
    assert read_model("s3://a/b", "s3://a/b", CASCADE) == ModelName(None, "s3://a/b")
    assert read_model("s3://a/b:x", "s3://a/b", CASCADE) == ModelName(None, "s3://a/b:x")


def test_a_path_with_a_colon_is_no_adapter_for_the_handlers() -> None:
    cascade = make_cascade("small", "large")
    tiers = [msgspec.structs.replace(tier, model_path="s3://a/b") for tier in cascade.tiers]
    cascade = msgspec.structs.replace(cascade, tiers=tiers)
    assert read_model("s3://a/b", "cascadia", cascade) == ModelName(0, "small")


@pytest.mark.parametrize("model", ["gpt-4o", "Small", "SMALL:latest", "small2", "gpt:small"])
def test_an_unknown_model_is_a_404_with_the_names_there_are(model: str) -> None:
    with pytest.raises(RequestError) as raised:
        read_model(model, "my-server", CASCADE)
    assert (raised.value.status, raised.value.param) == (404, "model")
    assert str(raised.value).endswith("allowed: cascadia, my-server, small, middle, large")
    assert repr(model) in str(raised.value)


def test_an_unknown_model_may_mean_the_cascade() -> None:
    cascade = make_cascade("small", "large", unknown_model="cascade")
    assert read_model("gpt-4o", "my-server", cascade) == ModelName(None, "gpt-4o")
    assert read_model("llama3.2:3b", "my-server", cascade) == ModelName(None, "cascadia")
    assert read_model("large", "my-server", cascade).tier == 1


def test_the_served_name_is_listed_once() -> None:
    assert listed_names("cascadia", CASCADE) == ["cascadia", "small", "middle", "large"]
    assert listed_names("mine", CASCADE)[:3] == ["cascadia", "mine", "small"]
