"""The hidden states of a step on their way to probes and records: a hook brings them, a step keeps
them.

SGLang gives them with the logits where its flag `return_hidden_states_mode` is `last`; its sampling
observer does not show them, so a hook on the sampler hands them over just before.

Shape legend: B rows, H hidden size, T tiers with a probe.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cascadia_kernels.hidden_probe import ProbeWeights, hidden_probe
from cascadia_sglang.judge.features import logit
from cascadia_sglang.judge.probe import Probe, ProbeParameters, probe_log_odds

CopyTensor = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class HostProbed:
    """Hidden states in the host's memory: only the rows that are asked for are probed."""

    hidden_BH: npt.NDArray[np.float32]
    parameters: dict[int, ProbeParameters]

    def log_odds(self, row: int, tier_index: int) -> float:
        hidden_1H = self.hidden_BH[row : row + 1]
        return float(probe_log_odds(hidden_1H, self.parameters[tier_index])[0])

    def state(self, row: int) -> bytes:
        """Little-endian float16."""
        return _packed(self.hidden_BH[row])

    def to_pp_tensors(self) -> dict[str, torch.Tensor]:
        return {"hidden": torch.from_numpy(self.hidden_BH)}


@dataclass(frozen=True, slots=True)
class DeviceProbed:
    """What each tier's probe says of every row, on the device until it is copied.

    Attributes:
        hidden_BH: the hidden states themselves, where they are recorded.
    """

    score_TB: torch.Tensor
    tiers: tuple[int, ...]
    hidden_BH: torch.Tensor | None = None

    def log_odds(self, row: int, tier_index: int) -> float:
        score = float(self.score_TB[self.tiers.index(tier_index), row])
        return float(logit(score)) if math.isfinite(score) else math.nan

    def state(self, row: int) -> bytes | None:
        """Little-endian float16; None where hidden states are not recorded."""
        return None if self.hidden_BH is None else _packed(self.hidden_BH[row].float().numpy())

    def to_pp_tensors(self) -> dict[str, torch.Tensor]:
        recorded = {} if self.hidden_BH is None else {"hidden": self.hidden_BH}
        return {"probed": self.score_TB, **recorded}

    def copy_to_host(self, copy_tensor: CopyTensor) -> "DeviceProbed":
        hidden_BH = None if self.hidden_BH is None else copy_tensor(self.hidden_BH)
        return DeviceProbed(copy_tensor(self.score_TB), self.tiers, hidden_BH)


class HiddenStates:
    """Takes the hidden states of the step that is about to be sampled, once a step."""

    def __init__(self, probes: dict[int, Probe], device: str, *, records: bool = False) -> None:
        """`records` keeps the states themselves too."""
        self._records = records
        self._parameters = {tier: probe.unpacked() for tier, probe in probes.items()}
        self._weights = {
            tier: ProbeWeights(
                *(torch.tensor(part, dtype=torch.float32, device=device) for part in parameters)
            )
            for tier, parameters in self._parameters.items()
        }
        self._hidden_BH: torch.Tensor | None = None

    @property
    def weights(self) -> tuple[ProbeWeights, ...]:
        """Of the tiers' probes, on the device."""
        return tuple(self._weights.values())

    def take(self, hidden_BH: torch.Tensor | None) -> None:
        """Of the logits that the observer is shown next; SGLang may overwrite them after that."""
        self._hidden_BH = hidden_BH

    def probed_on_host(self, rows: int) -> HostProbed | None:
        """The step's, on a host without an accelerator; None where nothing reads them."""
        hidden_BH = self._taken(rows)
        if hidden_BH is None:
            return None
        return HostProbed(hidden_BH.float().numpy(), self._parameters)

    def probed_on_device(self, rows: int) -> DeviceProbed | None:
        """The step's, in two launches a tier with a probe; None where nothing reads them."""
        hidden_BH = self._taken(rows)
        if hidden_BH is None:
            return None
        score_TB = torch.empty(len(self._weights), rows, device=hidden_BH.device)
        for tier_row, weights in enumerate(self._weights.values()):
            score_TB[tier_row] = hidden_probe(hidden_BH, weights)
        # A copy: SGLang may use the buffer for its next step before the host has read it.
        kept_BH = hidden_BH.clone() if self._records else None
        return DeviceProbed(score_TB, tuple(self._weights), kept_BH)

    def host_from_pp_tensors(self, tensors: Mapping[str, torch.Tensor]) -> HostProbed | None:
        """Those of another pipeline stage."""
        hidden_BH = tensors.get("hidden")
        return None if hidden_BH is None else HostProbed(hidden_BH.numpy(), self._parameters)

    def device_from_pp_tensors(self, tensors: Mapping[str, torch.Tensor]) -> DeviceProbed | None:
        """Those of another pipeline stage."""
        score_TB = tensors.get("probed")
        if score_TB is None:
            return None
        return DeviceProbed(score_TB, tuple(self._parameters), tensors.get("hidden"))

    def _taken(self, rows: int) -> torch.Tensor | None:
        hidden_BH, self._hidden_BH = self._hidden_BH, None
        if not self._parameters and not self._records:
            return None
        if hidden_BH is None or len(hidden_BH) != rows:
            count = "none" if hidden_BH is None else str(len(hidden_BH))
            raise ValueError(f"the judge needs a hidden state a row: {rows} rows, {count} found")
        return hidden_BH


def _packed(hidden_H: npt.NDArray[np.float32]) -> bytes:
    """Little-endian float16; what it cannot hold becomes infinite, and no probe is fitted to it."""
    with np.errstate(over="ignore"):
        return hidden_H.astype("<f2").tobytes()
