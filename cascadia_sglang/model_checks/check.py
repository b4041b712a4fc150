"""Everything that can be known of a cascade's models before they are loaded.

`cascadia validate` and the start of a server ask the same of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.entry.model import vocabulary_fingerprint
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.model_checks.chat_template import ChatTemplate, chat_template_of
from cascadia_sglang.model_checks.conversations import plain_difference, rare_difference
from cascadia_sglang.model_checks.folders import TierModel, check_files, tier_models
from cascadia_sglang.model_checks.named_files import check_named_files
from cascadia_sglang.model_checks.sampling_defaults import differing_defaults
from cascadia_sglang.model_checks.shared_flags import check_shared_flags
from cascadia_sglang.model_checks.tokenizer import difference, have_equal_files, load_tokenizer
from cascadia_sglang.models.hub_check import check_hub_names
from cascadia_sglang.models.local_files import fetch_small_files


def check_models(
    config: CascadeConfig,
    flags: Mapping[str, Any],
    *,
    vocabulary: str | None,
    is_here: bool = True,
) -> list[str]:
    """See that the tiers' models are there and can be served by one server.

    Of a model on the hub the small files are fetched; its weights are not.

    Args:
        flags: SGLang flags of the command line, by field name; those not given may be missing.
        vocabulary: that the cascade's entry model was fitted on; None without an entry model.
        is_here: whether the models are served on this host. Otherwise weights need not be there,
            and a model of the hub that the cache does not hold is left out.

    Returns:
        What differs between the models and is served all the same, a line each.

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
    if not here:
        return []
    _check_tokenizers(here)
    if vocabulary is not None:
        check_vocabulary(here[0], vocabulary)
    return [
        *(line for model in here[1:] for line in _template_differences(here[0], model)),
        *_default_differences(here),
    ]


def check_vocabulary(model: TierModel, fingerprint: str) -> None:
    """Compare a tier's vocabulary with the one that an entry model was fitted on.

    Raises:
        ConfigError: if they differ, as then the entry model's ids mean other tokens.
    """
    tokenizer = load_tokenizer(model.name, model.model_path, model.folder)
    served = vocabulary_fingerprint(tokenizer.vocabulary)
    if served != fingerprint:
        raise ConfigError(
            f"entry model: fitted on the vocabulary {fingerprint}, but tier {model.name} has "
            f"{served}; fit it again"
        )


def _check_tokenizers(models: Sequence[TierModel]) -> None:
    """Compare every tier's tokenizer with the first one's."""
    first, loaded = models[0], None
    for model in models[1:]:
        if model.folder == first.folder or have_equal_files(first.folder, model.folder):
            continue
        loaded = loaded or load_tokenizer(first.name, first.model_path, first.folder)
        second = load_tokenizer(model.name, model.model_path, model.folder)
        mismatch = difference(loaded, second)
        if mismatch is not None:
            raise ConfigError(
                f"tiers {first.name} and {model.name} have different tokenizers: {mismatch}"
            )


def _template_differences(first: TierModel, second: TierModel) -> Iterator[str]:
    """Compare two tiers' chat templates, unless the operator has chosen one for all."""
    if first.flags.get("chat_template") is not None or first.folder == second.folder:
        return
    templates = [_template(model) for model in (first, second)]
    if templates[0] == templates[1]:
        return
    head = f"tiers {first.name} and {second.name} have different chat templates"
    rendering = f"every tier is asked in the one of tier {first.name}"
    if templates[0] is None or templates[1] is None:
        without = (first if templates[0] is None else second).name
        raise ConfigError(f"{head}: tier {without} has none; give all of them one, chat_template")
    plain = plain_difference(templates[0], templates[1])
    if plain is not None:
        raise ConfigError(
            f"{head}: {plain}; {rendering}: give all of them one that suits them, chat_template"
        )
    rare = rare_difference(templates[0], templates[1])
    if rare is not None:
        yield f"{head}: {rare}; {rendering}"


def _template(model: TierModel) -> ChatTemplate | None:
    assert model.folder is not None
    try:
        return chat_template_of(model.folder, model.flags.get("hf_chat_template_name"))
    except ConfigError as error:
        raise ConfigError(f"tier {model.name}: {error}") from error


def _default_differences(models: Sequence[TierModel]) -> Iterator[str]:
    first = models[0]
    if first.flags.get("sampling_defaults") == "openai":
        return
    for second in models[1:]:
        assert first.folder is not None
        assert second.folder is not None
        mismatch = differing_defaults(first.folder, second.folder)
        if mismatch is not None:
            yield (
                f"tiers {first.name} and {second.name} have different defaults in "
                f"generation_config.json: {mismatch}; every tier samples by those of tier "
                f"{first.name}"
            )
