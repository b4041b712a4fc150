"""The prompt of one of SGLang's request objects, as the prefix caches see it."""

from sglang.srt.managers.io_struct import GenerateReqInput

from cascadia_sglang.prefix.prompt import Prompt

# Where a request keeps its `Prompt`.
_ATTRIBUTE = "_cascadia_prompt"


def prompt_of(sample: GenerateReqInput) -> Prompt | None:
    """A tokenised sample's prompt; None where its cache entries are not the tokens' alone.

    What SGLang caches under an adapter, a salt or a key of the client's, it keeps apart.
    """
    if sample.input_ids is None or sample.contains_mm_input():
        return None
    if sample.lora_path or sample.extra_key or sample.cache_salt:
        return None
    # One prompt's samples and tiers share the tokens, and so their hashes.
    known: Prompt | None = getattr(sample, _ATTRIBUTE, None)
    if known is None:
        known = Prompt(sample.input_ids)
        setattr(sample, _ATTRIBUTE, known)
    return known
