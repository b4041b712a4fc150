"""Whether workers can sleep here: the needs of SGLang's memory saver."""

import importlib.util
import os

from cascadia_sglang.errors import ConfigError

_GRAPH_MEMORY = "SGLANG_MEMORY_SAVER_CUDA_GRAPH"


def check_sleep(device_type: str) -> None:
    """Refuse `planner.sleep` where SGLang's memory saver does not work.

    Raises:
        ConfigError: names the place and what is missing.
    """
    if device_type != "cuda":
        raise ConfigError(
            f"planner.sleep is true, allowed on CUDA devices alone; this host has {device_type}"
        )
    if importlib.util.find_spec("torch_memory_saver") is None:
        raise ConfigError(
            "planner.sleep is true: torch-memory-saver is not installed "
            "(pip install torch-memory-saver)"
        )
    if os.environ.get(_GRAPH_MEMORY, "").lower() in ("1", "true"):
        raise ConfigError(
            f"planner.sleep is true and {_GRAPH_MEMORY} is set: SGLang's breakable CUDA graphs "
            "refuse the memory saver then"
        )
