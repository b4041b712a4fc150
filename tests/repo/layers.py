"""The order of the packages and modules, lowest first.

A room is a package or a module, with everything in it. It imports from rooms of earlier lines; the
rooms of one line do not import each other. The longest name that fits a module is its room.
"""

LAYERS: tuple[tuple[str, ...], ...] = (
    # Leaves.
    (
        "cascadia_sglang.arrays",
        "cascadia_sglang.bounds",
        "cascadia_sglang.field_docs",
        "cascadia_sglang.version",
    ),
    (
        "cascadia_kernels",
        "cascadia_sglang.acceptance",
        "cascadia_sglang.asked_process",
        "cascadia_sglang.binomial_bounds",
        "cascadia_sglang.config",
        "cascadia_sglang.errors",
        "cascadia_sglang.messages",
        "cascadia_sglang.metric_families",
        "cascadia_sglang.metric_labels",
        "cascadia_sglang.nearest",
        "cascadia_sglang.ready",
        "cascadia_sglang.testing_time",
    ),
    # Files, metrics, processes.
    (
        "cascadia_patches.registry",
        "cascadia_sglang.child_server",
        "cascadia_sglang.cli",
        "cascadia_sglang.escalation",
        "cascadia_sglang.extras",
        "cascadia_sglang.hub_check",
        "cascadia_sglang.json_text",
        "cascadia_sglang.logs",
        "cascadia_sglang.metrics",
        "cascadia_sglang.pool_specs",
        "cascadia_sglang.prefix",
        "cascadia_sglang.refused_flags",
        "cascadia_sglang.unknown_keys",
        "cascadia_sglang.workers.tokenizers",
    ),
    (
        "cascadia_sglang.__main__",
        "cascadia_sglang.cascade_paths",
        "cascadia_sglang.label_settings",
        "cascadia_sglang.model_config",
        "cascadia_sglang.plugin",
        "cascadia_sglang.struct_file",
        "cascadia_sglang.yaml_text",
    ),
    # What decides, without a server.
    (
        "cascadia_sglang.cascade_checks",
        "cascadia_sglang.entry",
        "cascadia_sglang.judge",
        "cascadia_sglang.planner",
    ),
    (
        "cascadia_sglang.cascade_file",
        "cascadia_sglang.schemas",
        "cascadia_sglang.testing_replies",
        "cascadia_sglang.verify",
    ),
    ("cascadia_sglang.calibration", "cascadia_sglang.reallocation"),
    ("cascadia_sglang.memory", "cascadia_sglang.self_calibration"),
    ("cascadia_sglang.model_checks", "cascadia_sglang.platform", "cascadia_sglang.router"),
    # The server.
    (
        "cascadia_sglang.self_calibration_setup",
        "cascadia_sglang.testing",
        "cascadia_sglang.workers",
    ),
    ("cascadia_sglang.http", "cascadia_sglang.init_file", "cascadia_sglang.profiling"),
    ("cascadia_sglang.commands", "cascadia_sglang.server"),
    ("cascadia_sglang.start",),
    # The hooks call up into what they serve.
    ("cascadia_patches",),
)

# Modules that may name types of higher rooms in annotations.
NAMES_HIGHER_TYPES: tuple[str, ...] = ()
