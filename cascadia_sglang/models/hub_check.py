"""Models by their names on the model hub: whether they can be had.

SGLang asks the hub for file after file, several times each where it does not answer: a start would
end after a minute, with a traceback. Here one question is asked, with a deadline.
"""

import os
import queue
import re
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from cascadia_sglang.errors import ConfigError

# Of one answer, and of everything together: resolving the hub's name has no limit of its own.
_ANSWER_S, _DEADLINE_S = 3.0, 4.0
_CONFIG = "config.json"


def is_hub_name(model: str) -> bool:
    """Whether this may be a hub name, of the form owner/model."""
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model))


def check_hub_names(models: Mapping[str, str]) -> None:
    """Check that the hub has every model that is neither on this host nor in the hub's cache.

    Args:
        models: by what an error begins with, the path or hub name of each.

    Raises:
        ConfigError: one line that names the model and the reason, within 10 seconds.
    """
    # SGLang can take models from another hub, by the same names.
    if os.environ.get("SGLANG_USE_MODELSCOPE", "").lower() in ("1", "true"):
        return
    uncached = {
        source: name
        for source, name in models.items()
        if not Path(name).exists() and is_hub_name(name) and not _is_cached(name)
    }
    for source, refusal in _refusals(uncached):
        raise ConfigError(
            f"{source}: {uncached[source]} is no folder and not in the hub's cache, "
            f"and it cannot be fetched: {refusal}"
        )


def _is_cached(name: str) -> bool:
    # The import takes half a second, and a folder needs none of it.
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, _CONFIG), str)
    except HFValidationError:
        return False


def _refusals(uncached: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Sources whose model the hub does not give, with the reason, as the answers come."""
    answers: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    for source, name in uncached.items():
        threading.Thread(
            target=lambda source, name: answers.put((source, _refusal(name))),
            args=(source, name),
            daemon=True,
        ).start()
    waiting, ends = list(uncached), time.monotonic() + _DEADLINE_S
    while waiting:
        try:
            source, refusal = answers.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            yield waiting[0], f"the hub does not answer within {_DEADLINE_S:.0f} s"
            return
        waiting.remove(source)
        if refusal is not None:
            yield source, refusal


def _refusal(name: str) -> str | None:
    """Why the hub does not give a model; None where it does."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        get_hf_file_metadata(hf_hub_url(name, _CONFIG), timeout=_ANSWER_S)
    except EntryNotFoundError:
        return None  # a model of another format, for SGLang to read
    except GatedRepoError:
        return "it is gated: ask its owner for access, and set HF_TOKEN"
    except RepositoryNotFoundError:
        return "the hub knows no such model, or it is private: check the name, or set HF_TOKEN"
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except Exception as error:  # noqa: BLE001  whatever the hub's client raises is told in one line
        first_line = (str(error).strip() or type(error).__name__).split("\n")[0]
        return f"{constants.ENDPOINT} does not answer: {first_line}"
    return None
