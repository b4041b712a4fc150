"""The score models of a worker: those of its start, and those named by file later."""

import logging
from collections import OrderedDict
from pathlib import Path

from cascadia_sglang.errors import ConfigError
from cascadia_sglang.judge.builtin_rank import rank_model
from cascadia_sglang.judge.calibration import ScoreModel, load_calibration, load_calibrations
from cascadia_sglang.judge.probe import Probe
from cascadia_sglang.messages import JudgeSpec

logger = logging.getLogger(__name__)

# Of the files that attempts name. Requests on their way keep the file that they began with, so a
# worker needs the old one and the new one of each tier for a while.
KEPT = 16


def start_models(spec: JudgeSpec) -> dict[int, ScoreModel]:
    """The model of each judged tier index: its calibration file's, or the built-in rank.

    Raises:
        ConfigError: if a file is missing or does not fit.
    """
    ranks = {tier: rank_model() for tier in spec.ranked}
    fitted = {
        tier: ScoreModel(load_calibration(Path(path))) for tier, path in spec.calibrations.items()
    }
    return {**ranks, **fitted}


class ScoreModels:
    """Owns a worker's score models."""

    def __init__(self, started: dict[int, ScoreModel]) -> None:
        """`started` holds the model of each tier index where an attempt names no file."""
        self._started = started
        self._loaded: OrderedDict[tuple[int, str], ScoreModel | None] = OrderedDict()

    def probes(self) -> dict[int, Probe]:
        """The probe of each tier index whose score counts one."""
        probes = {tier: model.probe for tier, model in self._started.items()}
        return {tier: probe for tier, probe in probes.items() if probe is not None}

    def of(self, tier_index: int, path: str | None) -> ScoreModel | None:
        """The model that scores an attempt; None for no score.

        Args:
            path: of the calibration file that the attempt names. It is read once; where that
                fails, the log says why, once.
        """
        if path is None:
            return self._started.get(tier_index)
        key = (tier_index, path)
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        try:
            model: ScoreModel | None = self._load(tier_index, path)
        except Exception as error:  # noqa: BLE001  a file of any content must not fail a request
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            logger.error("answers of tier %d have no score: %s", tier_index, reason)
            model = None
        self._loaded[key] = model
        if len(self._loaded) > KEPT:
            self._loaded.popitem(last=False)
        return model

    def _load(self, tier_index: int, path: str) -> ScoreModel:
        started = self._started.get(tier_index)
        # The router counts on scores of what the worker could rate from the start.
        judges_constrained = started is not None and started.judges_constrained
        model = ScoreModel(
            load_calibrations({tier_index: path})[tier_index], judges_constrained=judges_constrained
        )
        # The worker prepared for the hidden states of the probes that it started with.
        if model.probe is not None and (started is None or started.probe != model.probe):
            raise ConfigError(f"calibration {path} has a probe that the worker did not start with")
        return model
