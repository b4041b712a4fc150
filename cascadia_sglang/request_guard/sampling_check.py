"""Checks sampling parameters: those of a client, and those of a tier.

It needs none of SGLang's heavier modules, so that a wrong cascade file is told at once.
"""

from collections.abc import Iterable
from typing import Any

from sglang.srt.sampling.sampling_params import SamplingParams

from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.errors import ConfigError, RequestError
from cascadia_sglang.files.value_types import INT32_MAX
from cascadia_sglang.request_guard.field_reader import fields_of, read_object, struct_defaults
from cascadia_sglang.request_guard.request_table import SAMPLING_ROWS, Scope

SAMPLING_FIELDS = fields_of(
    SamplingParams, struct_defaults(SamplingParams), SAMPLING_ROWS, may_be_batch=False
)


def read_sampling(params: Any, scope: Scope) -> dict[str, Any]:
    """One set of sampling parameters as SGLang wants it.

    Raises:
        RequestError: 400 that names the parameter, its value and what is allowed.
    """
    return read_object(params, "sampling_params", SAMPLING_FIELDS, scope)


def check_tier_sampling(tiers: Iterable[TierConfig]) -> None:
    """Check what the tiers set in place of the client, by the same table.

    Raises:
        ConfigError: one line that names the tier, the parameter, its value and what is allowed.
    """
    # The models are not known yet; token ids are only checked for what every model lacks.
    scope = Scope(vocabulary=INT32_MAX, max_samples=1, max_requests=1)
    for tier in tiers:
        try:
            read = read_sampling(tier.sampling, scope)
        except RequestError as error:
            raise ConfigError(f"tier {tier.name}: sampling: {error}") from None
        for name, value in tier.sampling.items():
            if name in read and type(read[name]) is not type(value):
                form = f"written as {read[name]!r}"
                raise ConfigError(f"tier {tier.name}: sampling: {name} is {value!r}, {form}")
