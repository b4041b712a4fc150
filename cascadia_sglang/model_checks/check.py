"""Everything that can be known of a cascade's models before they are loaded.

`cascadia validate` and the start of a server ask the same of them.
"""

from collections.abc import Mapping
from typing import Any

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.config.voices import Voices
from cascadia_sglang.entry.model import vocabulary_fingerprint
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.model_checks.folders import TierModel, check_files, tier_models
from cascadia_sglang.model_checks.named_files import check_named_files
from cascadia_sglang.model_checks.shared_flags import check_shared_flags
from cascadia_sglang.model_checks.tokenizer import load_tokenizer
from cascadia_sglang.model_checks.voices import tokenizer_location, voices_of
from cascadia_sglang.models.hub_check import check_hub_names
from cascadia_sglang.models.local_files import fetch_small_files


def check_models(
    config: CascadeConfig,
    flags: Mapping[str, Any],
    *,
    vocabulary: str | None,
    is_here: bool = True,
) -> Voices:
    """See that the tiers' models are there and can be served by one server.

    Of a model on the hub the small files are fetched; its weights are not.

    Args:
        flags: SGLang flags of the command line, by field name; those not given may be missing.
        vocabulary: that the cascade's entry model was fitted on; None without an entry model.
        is_here: whether the models are served on this host. Otherwise weights need not be there,
            and a model of the hub that the cache does not hold has the first tier's voice.

    Returns:
        The voices of the tiers.

    Raises:
        ConfigError: one line that names the tier and what is wrong.
    """
    if is_here:
        check_hub_names(config.models())
        for tier in config.tiers:
            fetch_small_files(tier.model_path)
    models = tier_models(config, flags)
    for model in models:
        check_files(model, has_weights=is_here)
    check_named_files(models)
    check_shared_flags(models)
    here = [model for model in models if model.folder is not None]
    names = [tier.name for tier in config.tiers]
    if not here:
        return Voices.single(names)
    voices = voices_of(here, flags.get("tokenizer_path"))
    if vocabulary is not None:
        check_vocabulary(here[0], vocabulary)
    return voices.with_missing(len(names))


def check_vocabulary(model: TierModel, fingerprint: str) -> None:
    """Compare a tier's vocabulary with the one that an entry model was fitted on.

    Raises:
        ConfigError: if they differ, as then the entry model's ids mean other tokens.
    """
    path, folder = tokenizer_location(model)
    tokenizer = load_tokenizer(model.name, path, folder)
    served = vocabulary_fingerprint(tokenizer.vocabulary)
    if served != fingerprint:
        raise ConfigError(
            f"entry model: fitted on the vocabulary {fingerprint}, but tier {model.name} has "
            f"{served}; fit it again"
        )
