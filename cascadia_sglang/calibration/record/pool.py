"""The answers of every tier to a sample of prompts, as arrays.

Shape legend: N prompts, T tiers, F base features, H hidden size.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cascadia_sglang.arrays import BoolArray, FloatArray, RowArray
from cascadia_sglang.judge.features import FEATURES

_LOG_TOKENS = FEATURES.index("log_tokens")
_Entry = TypeVar("_Entry", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierAnswers:
    """One tier's answers to N prompts.

    Attributes:
        features_NF: base features of the finished answers; NaN where the judge had nothing to see.
        prefix_NF: the same after some number of tokens; NaN where the answer had ended by then.
        right_N: whether each answer is acceptable.
        same_N: whether it equals the last tier's; None where the answers are not at hand.
        draft_NF: base features of the answer of the tier before, as this tier reads it; NaN where
            it was given none. None where drafts were not recorded.
        kept_N: share of that draft's tokens that this tier keeps; NaN and None likewise.
        hidden_NH: hidden states that gave the answers' last tokens; NaN where one is not known,
            None where they were not recorded.
    """

    features_NF: FloatArray
    prefix_NF: dict[int, FloatArray]
    right_N: BoolArray
    same_N: BoolArray | None = None
    draft_NF: FloatArray | None = None
    kept_N: FloatArray | None = None
    hidden_NH: npt.NDArray[np.float32] | None = None

    def tokens(self) -> FloatArray:
        """Of each answer, [N]; NaN where the judge had nothing to see."""
        tokens_N: FloatArray = np.exp(self.features_NF[:, _LOG_TOKENS])
        return tokens_N

    def take(self, rows_M: RowArray) -> "TierAnswers":
        """Some of the rows."""
        return TierAnswers(
            features_NF=self.features_NF[rows_M],
            prefix_NF={tokens: rows_NF[rows_M] for tokens, rows_NF in self.prefix_NF.items()},
            right_N=self.right_N[rows_M],
            same_N=None if self.same_N is None else self.same_N[rows_M],
            draft_NF=None if self.draft_NF is None else self.draft_NF[rows_M],
            kept_N=None if self.kept_N is None else self.kept_N[rows_M],
            hidden_NH=None if self.hidden_NH is None else self.hidden_NH[rows_M],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The same N prompts answered by every tier, smallest first.

    Attributes:
        ids: name of each prompt.
        prompt_keys: of each prompt, equal for equal prompts; decides which part of the sample it
            belongs to.
        groups: what the operator calls its kind, None where nothing was said.
        constrained_N: whether the answers were written under a grammar.
    """

    tiers: tuple[TierAnswers, ...]
    ids: tuple[str, ...]
    prompt_keys: tuple[str, ...]
    groups: tuple[str | None, ...]
    constrained_N: BoolArray

    def __len__(self) -> int:
        return len(self.ids)

    def right(self) -> BoolArray:
        """Whether each tier's answer is acceptable, [N, T]."""
        return np.column_stack([tier.right_N for tier in self.tiers])

    def take(self, rows_M: RowArray) -> "Pool":
        """Some of the prompts."""
        return Pool(
            tiers=tuple(tier.take(rows_M) for tier in self.tiers),
            ids=tuple(self.ids[row] for row in rows_M),
            prompt_keys=tuple(self.prompt_keys[row] for row in rows_M),
            groups=tuple(self.groups[row] for row in rows_M),
            constrained_N=self.constrained_N[rows_M],
        )

    @classmethod
    def concatenated(cls, pools: Sequence["Pool"]) -> "Pool":
        """The prompts of several pools of the same tiers, one after the other."""
        tiers = []
        for parts in zip(*(pool.tiers for pool in pools), strict=True):
            counts = list(parts[0].prefix_NF)
            tiers.append(
                TierAnswers(
                    features_NF=np.concatenate([part.features_NF for part in parts]),
                    prefix_NF={
                        tokens: np.concatenate([part.prefix_NF[tokens] for part in parts])
                        for tokens in counts
                    },
                    right_N=np.concatenate([part.right_N for part in parts]),
                    same_N=_joined([part.same_N for part in parts]),
                    draft_NF=_joined([part.draft_NF for part in parts]),
                    kept_N=_joined([part.kept_N for part in parts]),
                    hidden_NH=_joined([part.hidden_NH for part in parts]),
                )
            )
        return cls(
            tiers=tuple(tiers),
            ids=tuple(prompt_id for pool in pools for prompt_id in pool.ids),
            prompt_keys=tuple(key for pool in pools for key in pool.prompt_keys),
            groups=tuple(group for pool in pools for group in pool.groups),
            constrained_N=np.concatenate([pool.constrained_N for pool in pools]),
        )

    def salted(self, salt: str) -> "Pool":
        """The same answers, divided in other parts; equal prompts stay together."""
        return dataclasses.replace(
            self, prompt_keys=tuple(f"{salt}:{key}" for key in self.prompt_keys)
        )

    @property
    def repeats(self) -> int:
        """Prompts that are equal to an earlier one."""
        return len(self) - len(set(self.prompt_keys))


def _joined(parts: Sequence[npt.NDArray[_Entry] | None]) -> npt.NDArray[_Entry] | None:
    arrays = [part for part in parts if part is not None]
    return np.concatenate(arrays) if len(arrays) == len(parts) else None
