"""Which requests may be answered with a smaller tier's draft."""

from typing import Any

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.config.settings import TierConfig
from cascadia_sglang.messages import CONSTRAINTS

# Sampling parameters that make the next token depend on more than the logits, or answers end
# elsewhere than at an end token or a limit; each with the values at which it does not act.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "min_new_tokens": (0,),
    "n": (1,),
    "beam_width": (0, 1),
    "ignore_eos": (False,),
    "no_stop_trim": (False,),
    "stop": ("", []),
    "stop_regex": ("", []),
    "logit_bias": ({},),
    **dict.fromkeys(CONSTRAINTS, ()),
}
# What else of a request needs every step of its decoding, or another model's.
_FIELDS = (
    "return_logprob",
    "return_hidden_states",
    "return_routed_experts",
    "require_reasoning",
    "custom_logit_processor",
    "session_params",
    "lora_path",
    "input_embeds",
)
_GREEDY_TEMPERATURE = 1e-6  # SGLang's


def takes_draft(sample: GenerateReqInput, tier: TierConfig) -> bool:
    """Whether a tier answers this the same with a draft as without.

    NGRAM speculation follows any draft, for its verification keeps the model's distribution. The
    other algorithms have proposals of their own. A tier without speculation reads the drafts of
    requests that are greedy and plain.
    """
    if sample.input_ids is None or sample.contains_mm_input():
        return False
    if tier.speculation is not None:
        return tier.speculation.algorithm == "NGRAM"
    if any(getattr(sample, name, None) for name in _FIELDS):
        return False
    params = {**sample.sampling_params, **tier.sampling}
    for name, neutral in _NEUTRAL.items():
        value = params.get(name)
        if value is not None and value not in neutral:
            return False
    temperature = params.get("temperature")
    is_cold = temperature is not None and temperature < _GREEDY_TEMPERATURE
    return is_cold or params.get("top_k") == 1
