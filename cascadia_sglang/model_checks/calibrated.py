"""Calibrations of the models that a cascade has: of others they would say nothing."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cascadia_sglang.config.paths import warn_once
from cascadia_sglang.config.settings import CascadeConfig, TierConfig
from cascadia_sglang.config.speculation import Speculation
from cascadia_sglang.entry.model import vocabulary_fingerprint
from cascadia_sglang.errors import ConfigError
from cascadia_sglang.judge.calibration import Calibration, load_calibrations
from cascadia_sglang.model_checks.folders import TierModel, tier_models
from cascadia_sglang.model_checks.tokenizer import load_tokenizer
from cascadia_sglang.model_checks.voices import tokenizer_location
from cascadia_sglang.models.local_files import local_folder

# A fine-tuned model differs in every layer: some values of each are enough to tell them apart.
_PLACES = 64
_BYTES = 1024


def model_fingerprint(folder: Path | None) -> str | None:
    """Equal for equal files of weights, wherever they lie; None where there are none.

    Reads some hundred kilobytes of each file, whatever its size.
    """
    files = [] if folder is None else sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as opened:
            for index in range(_PLACES):
                opened.seek(max(0, size - _BYTES) * index // (_PLACES - 1))
                digest.update(opened.read(_BYTES))
    return digest.hexdigest()[:16]


def tier_vocabularies(config: CascadeConfig) -> tuple[str, ...]:
    """The fingerprint of every tier's vocabulary; empty where a model is not on this host."""
    models = tier_models(config, {})
    if any(model.folder is None for model in models):
        return ()
    return tuple(map(_vocabulary, models))


def _vocabulary(model: TierModel) -> str:
    return vocabulary_fingerprint(load_tokenizer(model.name, *tokenizer_location(model)).vocabulary)


def loaded_calibrations(config: CascadeConfig, paths: Mapping[int, str]) -> dict[int, Calibration]:
    """Read calibrations, and see that each was fitted for its tier's place and on its model.

    A warning names a file that was fitted on answers of other speculative decoding: verification
    rounds otherwise than plain decoding, so scores differ a little.

    Args:
        paths: of their files, by tier index.

    Raises:
        ConfigError: names the file and what is wrong with it.
    """
    calibrations = load_calibrations(dict(paths))
    for index, calibration in calibrations.items():
        tier = config.tiers[index]
        _check_speculation(paths[index], calibration, tier)
        _check_draft_vocabularies(config, index, calibration, paths[index])
        if calibration.model is None:
            continue
        fingerprint = model_fingerprint(local_folder(tier.model_path))
        if fingerprint is not None and fingerprint != calibration.model:
            raise ConfigError(
                f"calibration {paths[index]} was fitted on the answers of another model than "
                f"{tier.model_path} of tier {tier.name}; fit the calibration again"
            )
    return calibrations


def _check_draft_vocabularies(
    config: CascadeConfig, index: int, calibration: Calibration, path: str
) -> None:
    """See that drafts come in the tokens, and from the tokens, that a second judge knows."""
    if calibration.draft_vocabularies is None or index == 0:
        return
    pair = tier_models(config, {})[index - 1 : index + 1]
    for model, fitted in zip(pair, calibration.draft_vocabularies, strict=True):
        if model.folder is not None and _vocabulary(model) != fitted:
            raise ConfigError(
                f"calibration {path} was fitted on drafts in another vocabulary than that of tier "
                f"{model.name}; fit the calibration again"
            )


def _check_speculation(path: str, calibration: Calibration, tier: TierConfig) -> None:
    if calibration.speculation != tier.speculation:
        warn_once(
            f"calibration {path} was fitted on answers {_decoded(calibration.speculation)}, tier "
            f"{tier.name} decodes {_decoded(tier.speculation)}; fit the calibration again for "
            "exact scores"
        )
    if calibration.probe is not None and tier.speculation is not None:
        raise ConfigError(
            f"calibration {path} has a probe of the hidden states, which tier {tier.name} does not "
            "show under speculative decoding"
        )


def _decoded(speculation: Speculation | None) -> str:
    return "without speculation" if speculation is None else f"with {speculation}"
