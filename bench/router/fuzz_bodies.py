"""Request bodies made from SGLang's own schemas, with types, ranges and sizes off."""

import dataclasses
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pydantic
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sglang.srt.entrypoints.anthropic.protocol import AnthropicMessagesRequest
from sglang.srt.entrypoints.ollama.protocol import OllamaChatRequest, OllamaGenerateRequest
from sglang.srt.entrypoints.openai.protocol import (
    ChatCompletionRequest,
    CompletionRequest,
    ResponsesRequest,
)
from sglang.srt.managers.io_struct import GenerateReqInput, SessionParams
from sglang.srt.sampling.sampling_params import SamplingParams

Body = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One body for one route."""

    path: str
    body: Body


_TEXTS = ("", " ", "a", "rev abcd", "\u0000", "é\u200d", "(a+)+b", "(", "[a-z]{1,9}", "{}", "[]")
_GRAMMARS = (
    "root ::= root",
    'root ::= "a" root | "b"',
    '{"type": "object"}',
    '{"$ref": "#"}',
    '{"type": "objectt"}',
    '{"enum": []}',
)
_NUMBERS = (0, -1, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, -(2**31) - 1)
_FLOATS = (0.0, 1.0, 1.5, -0.5, 1e-320, 1e-40, 1e39, 1e300, -1e300, 8.0)

text = st.sampled_from(_TEXTS) | st.sampled_from(_GRAMMARS) | st.text(max_size=12)
integer = st.sampled_from(_NUMBERS) | st.integers(-3, 200)
number = integer | st.sampled_from(_FLOATS) | st.floats(allow_nan=False, allow_infinity=False)
scalar = st.none() | st.booleans() | number | text
anything = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
_SIMPLE = {
    bool: st.booleans(),
    int: integer,
    float: number,
    str: text,
    bytes: text,
    types.NoneType: st.none(),
}


def values_of(annotation: Any, depth: int = 0) -> SearchStrategy[Any]:
    """JSON values of the annotated type, edges included; anything where it says no more."""
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values_of(arguments[0], depth)
    if origin is Literal:
        return st.sampled_from(arguments)
    if depth > 2:
        return anything
    if origin is Union or origin is types.UnionType:
        return st.one_of([values_of(member, depth + 1) for member in arguments])
    if origin in (list, set, tuple) and arguments:
        return st.lists(values_of(arguments[0], depth + 1), max_size=3)
    if origin is dict and arguments:
        return st.dictionaries(text, values_of(arguments[1], depth + 1), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return _object_of(annotation, depth + 1)
    return anything


def _types_of(schema: Any) -> dict[str, Any]:
    if isinstance(schema, type) and issubclass(schema, pydantic.BaseModel):
        return {name: field.annotation for name, field in schema.model_fields.items()}
    return get_type_hints(schema)


def _object_of(schema: Any, depth: int = 0) -> SearchStrategy[Body]:
    fields = {name: values_of(kind, depth) for name, kind in _types_of(schema).items()}
    return st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=4).flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    )


def _off(schema: Any) -> SearchStrategy[Body]:
    """One to three fields of a schema, each of its type or of another."""
    fields = {name: values_of(kind) for name, kind in _types_of(schema).items()}
    return st.lists(st.sampled_from(sorted(fields)), unique=True, min_size=1, max_size=3).flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.one_of(fields[name], fields[name], anything) for name in names}
        )
    )


_sampling = _off(SamplingParams).map(lambda odd: {"max_new_tokens": 4, "temperature": 0, **odd})
_prompt = st.sampled_from(
    [{"text": "rev abcd"}, {"text": ["rev ab", "rev cd"]}, {"input_ids": [70, 71]}]
)
native_bodies = st.one_of(
    st.builds(lambda prompt, params: {**prompt, "sampling_params": params}, _prompt, _sampling),
    st.builds(
        lambda prompt, odd: {**prompt, "sampling_params": {"max_new_tokens": 4}, **odd},
        _prompt,
        _off(GenerateReqInput),
    ),
    st.builds(
        lambda prompt, params, odd: {**prompt, "sampling_params": params, **odd},
        _prompt,
        _sampling,
        _off(GenerateReqInput),
    ),
    st.builds(lambda odd: {"text": "a", "session_params": odd}, _off(SessionParams)),
)
_vertex = native_bodies.map(
    lambda body: {
        "instances": [{key: body[key]} for key in ("text", "input_ids") if key in body],
        "parameters": {k: v for k, v in body.items() if k not in ("text", "input_ids")},
    }
)
_options = _off(SamplingParams) | st.dictionaries(
    st.sampled_from(
        ["num_predict", "temperature", "top_k", "top_p", "seed", "stop", "num_ctx", "min_p"]
    ),
    anything,
    max_size=3,
)


def _based(base: Body, schema: Any, options: SearchStrategy[Body] | None = None) -> Any:
    """A body that is right, with some fields off."""
    bodies = _off(schema).map(lambda odd: {**base, **odd})
    if options is None:
        return bodies
    with_options = options.map(lambda odd: {**base, "options": {"num_predict": 4, **odd}})
    return st.one_of(bodies, with_options)


_MESSAGES = {"model": "cascadia", "messages": [{"role": "user", "content": "rev abcd"}]}
_CHAT = {**_MESSAGES, "max_tokens": 4}
ROUTES: dict[str, SearchStrategy[Body]] = {
    "/generate": native_bodies,
    "/v1/chat/completions": _based(_CHAT, ChatCompletionRequest),
    "/v1/completions": _based(
        {"model": "cascadia", "prompt": "rev abcd", "max_tokens": 4}, CompletionRequest
    ),
    "/v1/responses": _based(
        {"model": "cascadia", "input": "rev abcd", "max_output_tokens": 16}, ResponsesRequest
    ),
    "/v1/messages": _based(_CHAT, AnthropicMessagesRequest),
    "/api/chat": _based({**_MESSAGES, "options": {"num_predict": 4}}, OllamaChatRequest, _options),
    "/api/generate": _based(
        {"model": "cascadia", "prompt": "rev abcd", "options": {"num_predict": 4}},
        OllamaGenerateRequest,
        _options,
    ),
    "/invocations": _based(_CHAT, ChatCompletionRequest),
    "/vertex_generate": _vertex,
}
# SGLang answers at once and works on: whether an answer comes, the reply does not say.
_LEFT_OUT = ("background",)


def cases(seed_of: int, count: int) -> list[Case]:
    """So many bodies, the same for the same seed; a few fewer where hypothesis repeats itself."""
    drawn: list[Case] = []

    @seed(seed_of)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sorted(ROUTES)).flatmap(_cases_of))
    def collect(case: Case) -> None:
        drawn.append(case)

    collect()
    return drawn


def _cases_of(path: str) -> SearchStrategy[Case]:
    return ROUTES[path].map(
        lambda body: Case(path=path, body={key: body[key] for key in body if key not in _LEFT_OUT})
    )


def endless_cases(first_seed: int, batch: int = 200) -> Iterator[Case]:
    """Bodies without end."""
    while True:
        yield from cases(first_seed, batch)
        first_seed += 1
