"""Flags that a server has once: its tiers cannot differ in them."""

from collections.abc import Sequence

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.model_checks.folders import TierModel

# By these SGLang writes prompts and reads answers, in the one process that all tiers share.
SHARED_FLAGS = (
    "chat_template",
    "hf_chat_template_name",
    "completion_template",
    "tool_call_parser",
    "reasoning_parser",
    "preferred_sampling_params",
    "sampling_defaults",
)


def check_shared_flags(models: Sequence[TierModel]) -> None:
    """See that every tier has the first one's template and parsers.

    Raises:
        ConfigError: names the tier, the flag and both values.
    """
    first = models[0]
    for model in models[1:]:
        for flag in SHARED_FLAGS:
            expected, value = first.flags.get(flag), model.flags.get(flag)
            if value != expected:
                raise ConfigError(
                    f"tiers[{model.index}].server_args.{flag} is {value!r}, but {expected!r} in "
                    f"tier {first.name}: prompts are written and answers read alike for all tiers; "
                    "give every tier the same"
                )
