"""Whatever body comes: it is refused by name, or what leaves the check is of SGLang's own types."""

from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from sglang.srt.managers.io_struct import GenerateReqInput, SessionParams
from sglang.srt.sampling.sampling_params import SamplingParams

from bench.router.fuzz_bodies import Body, native_bodies
from cascadia_sglang.engine.requests import split_request
from cascadia_sglang.errors import RequestError
from cascadia_sglang.request_guard.request_check import check_request
from cascadia_sglang.request_guard.request_table import Scope

SCOPE = Scope(vocabulary=128, max_samples=16, max_requests=32)
TOKENIZER = SimpleNamespace(encode=lambda text, **_: list(text.encode()))
# The per-request fields that reach the scheduler, by their type there.
SCALARS = {
    "return_logprob": bool,
    "logprob_start_len": int,
    "top_logprobs_num": int,
    "stream": bool,
    "priority": int,
    "routed_experts_start_len": int,
    "rid": str,
    "cache_salt": str,
    "extra_key": str,
}


def default_priority(request: Any) -> None:
    """As SGLang's manager leaves a request without a priority."""
    del request


@given(body=native_bodies)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_body_is_refused_or_of_the_types_that_the_scheduler_expects(body: Body) -> None:
    refused: RequestError | None = None
    samples, params = [], []
    try:
        request = GenerateReqInput(**body)
        check_request(request, SCOPE)
        manager = SimpleNamespace(_set_default_priority=default_priority)
        prompts = split_request(request, manager)
        samples = [sample for samples in prompts for sample in samples]
        params = [_sampling_of(sample) for sample in samples]
    except RequestError as error:
        refused = error
    except ValueError:
        return  # SGLang's own, which its routes answer with a 400
    assert refused is None or refused.status == 400
    if refused is not None:
        return
    for sample, sampling in zip(samples, params, strict=True):
        # Strict: a float in place of an integer does not pass.
        msgspec.convert(msgspec.to_builtins(sampling), SamplingParams, strict=True)
        assert all(0 <= token < 128 for token in sampling.stop_token_ids or ())
        for name, kind in SCALARS.items():
            value = getattr(sample, name)
            assert value is None or type(value) is kind, (name, value)
        assert all(type(i) is int and 0 <= i < 128 for i in sample.token_ids_logprob or ())
        if sample.session_params:
            session = SessionParams(**sample.session_params)
            msgspec.convert(msgspec.to_builtins(session), SessionParams, strict=True)


def _sampling_of(sample: GenerateReqInput) -> SamplingParams:
    """As the tokenizer manager makes them of a request."""
    params = SamplingParams(**sample.sampling_params)
    params.normalize(TOKENIZER)
    params.verify(128)
    return params
