"""The meaning of a request's `model`: the cascade, or one tier.

| `model` | means |
|---|---|
| none, empty, `default`, `cascadia`, the served model name | the cascade |
| the name of a tier, or its `model_path` | that tier alone |
| one of these with `:latest`, as Ollama's clients write it | the same |
| one of these with `:` and another name | the same, with that LoRA adapter |
| any other, and other upper or lower case | 404, or the cascade by `routing.unknown_model` |
"""

from dataclasses import dataclass

from cascadia_sglang.config.settings import CASCADE_MODEL, CascadeConfig
from cascadia_sglang.errors import RequestError

_LATEST = ":latest"


@dataclass(frozen=True, slots=True)
class ModelName:
    """What a name means.

    Attributes:
        tier: index of the one tier that answers; None for the whole cascade.
        for_handler: the name for SGLang's handlers, which take what follows a colon for an adapter.
    """

    tier: int | None
    for_handler: str


def read_model(model: str | None, served_name: str, config: CascadeConfig) -> ModelName:
    """What a request's `model` means.

    Raises:
        RequestError: 404 for an unknown name, unless the cascade takes unknown names.
    """
    name = (model or "").strip()
    tiers = _tiers_by_name(served_name, config)
    for plain in (name, name.removesuffix(_LATEST)):
        if plain in tiers:
            tier = tiers[plain]
            has_colon = ":" in plain and plain != served_name
            tier_name = CASCADE_MODEL if tier is None else config.tiers[tier].name
            return ModelName(tier, tier_name if has_colon else plain)
    base, colon, adapter = _split(name, served_name)
    if colon and base in tiers:
        return ModelName(tiers[base], f"{base}:{adapter}")
    if config.routing.unknown_model == "reject":
        allowed = ", ".join(listed_names(served_name, config))
        raise RequestError(404, f"model {model!r} does not exist, allowed: {allowed}", "model")
    return ModelName(None, CASCADE_MODEL if colon else name)


def listed_names(served_name: str, config: CascadeConfig) -> list[str]:
    """The names that lists of models show: the cascade's, the served one if another, the tiers'."""
    served = [] if served_name == CASCADE_MODEL else [served_name]
    return [CASCADE_MODEL, *served, *(tier.name for tier in config.tiers)]


def _tiers_by_name(served_name: str, config: CascadeConfig) -> dict[str, int | None]:
    tiers: dict[str, int | None] = {}
    for index, tier in enumerate(config.tiers):
        # Tiers may share a model; its path then means the smallest.
        tiers.setdefault(tier.model_path, index)
    tiers.update({tier.name: index for index, tier in enumerate(config.tiers)})
    tiers.update(dict.fromkeys(("", "default", CASCADE_MODEL, served_name)))
    return tiers


def _split(name: str, served_name: str) -> tuple[str, str, str]:
    """Base and adapter of `name:adapter`; the served name may hold colons of its own."""
    if name.startswith(f"{served_name}:"):
        return served_name, ":", name[len(served_name) + 1 :]
    base, colon, adapter = name.partition(":")
    return base.strip(), colon, adapter.strip()
