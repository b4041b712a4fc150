"""Flags that a server has once: its tiers cannot differ in them."""

from collections.abc import Sequence

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.model_checks.folders import TierModel

# SGLang keeps these once in the process that all tiers share.
SHARED_FLAGS = ("completion_template",)


def check_shared_flags(models: Sequence[TierModel]) -> None:
    """See that every tier has the first one's values.

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
                    f"tier {first.name}: a server has it once; give every tier the same"
                )
