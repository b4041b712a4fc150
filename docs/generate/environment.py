"""Environment variables that the project reads or sets."""

from docs.generate.markdown import code, document, paragraph, table

# For operators.
READ = {
    "CUDA_VISIBLE_DEVICES": "Accelerators that may be used, as for every CUDA program.",
    "HF_HUB_OFFLINE": "`1`: models come from folders and the hub's cache alone.",
    "HF_TOKEN": "Access token for models of the hub that are gated or private.",
    "NUMBA_CACHE_DIR": "Folder of the simulator's compiled code. "
    "Default: `cascadia/compiled` in the cache folder.",
    "OMP_NUM_THREADS": "Threads per worker on the CPU. Default: the cores, shared by the workers. "
    "Too large a value slows the CPU platform; the start warns of it.",
    "PROMETHEUS_MULTIPROC_DIR": "Folder of the metrics of all processes. SGLang sets it.",
    "SGLANG_CPU_OMP_THREADS_BIND": "Cores of each worker on the CPU, as SGLang reads it.",
    "SGLANG_LOGGING_CONFIG_PATH": "Your own logging configuration. "
    "All lines of the workers then go to the console.",
    "SGLANG_MEMORY_SAVER_CUDA_GRAPH": "With this, workers cannot sleep (`planner.sleep`).",
    "SGLANG_OLLAMA_CHAT_ROUTE": "Path of Ollama's chat route. Default: `/api/chat`.",
    "SGLANG_OLLAMA_GENERATE_ROUTE": "Path of Ollama's generate route. Default: `/api/generate`.",
    "SGLANG_PLATFORM": "Platform plugin. Another one than `cascadia_cpu` turns ours off.",
    "SGLANG_RUST_SERVER": "SGLang's Rust server. A cascade refuses to start with it.",
    "SGLANG_SIMULATE_ACC_LEN": "SGLang's made-up speculation. A judged tier refuses it.",
    "SGLANG_USE_CPU_ENGINE": "`1`: SGLang's own CPU engine in place of our CPU platform.",
    "SGLANG_USE_MODELSCOPE": "`true`: models come from ModelScope, whose names are not checked.",
    "XDG_CACHE_HOME": "The cache folder, in which logs and compiled code go to `cascadia`. "
    "Default: `~/.cache`.",
}

# Set by the server for its own processes.
INTERNAL = {
    "CASCADIA_EVERY_LINE": "Tells the fork server to show every log line.",
    "CASCADIA_FORK_SERVER_PARENT": "Process id of the main process, for its fork server.",
    "CASCADIA_STEP_LOG": "Folder in which `cascadia profile` has workers write step times.",
    "NCCL_CUMEM_ENABLE": "Passed on to the workers as SGLang sets it.",
    "NCCL_GRAPH_MIXING_SUPPORT": "Passed on to the workers as SGLang sets it.",
    "NCCL_NVLS_ENABLE": "Passed on to the workers as SGLang sets it.",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "Set to 1, so that the main process does not initialise CUDA.",
    "SGLANG_LOAD_SNAPSHOT_USE_ZMQ": "Set to 1 for workers on other machines: their loads cross the "
    "network.",
    "SGLANG_KILLPG_ON_SCHEDULER_EXCEPTION": "Set to false: one worker's error ends no other.",
}

# Of `make gpu-check`.
CHECKS = {
    "CASCADIA_GPU_CHECK_COMMIT": "Commit that a row of results names.",
    "CASCADIA_GPU_CHECK_DEVICE_TIMES": "Folder in which workers write times of the device.",
    "CASCADIA_GPU_CHECK_GRAPH_BATCHES": "`1`: workers run the batches of drafts as CUDA graphs.",
    "CASCADIA_GPU_CHECK_MACHINE": "Machine that a row of results names.",
}


def page() -> str:
    """A table for operators, and one of variables that are not theirs to set."""
    return document(
        "Environment variables",
        "## Read by the server and the commands",
        paragraph(
            "Cascadia has no settings of its own in the environment. It respects these variables "
            "of SGLang, PyTorch, the model hub and the system."
        ),
        _table(READ),
        "## Set by the server for its own processes",
        paragraph("Do not set these by hand."),
        _table(INTERNAL),
        "## Set by `make gpu-check`",
        _table(CHECKS),
    )


def _table(variables: dict[str, str]) -> str:
    return table(("variable", "meaning"), [(code(name), text) for name, text in variables.items()])
