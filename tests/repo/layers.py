"""The order of the packages and modules, lowest first.

A room is a package or a module, with everything in it. It imports from rooms of earlier lines; the
rooms of one line do not import each other. The longest name that fits a module is its room.
"""

LAYERS: tuple[tuple[str, ...], ...] = (
    # Leaves: no room of the project below them.
    (
        "cascadia_sglang.arrays",
        "cascadia_sglang.failure_counts",
        "cascadia_sglang.value_ranges",
        "cascadia_sglang.field_docs",
        "cascadia_sglang.progress",
        "cascadia_sglang.version",
    ),
    (
        "cascadia_kernels",
        "cascadia_patches.spec",
        "cascadia_sglang.binomial_bounds",
        "cascadia_sglang.errors",
        "cascadia_sglang.messages",
        "cascadia_sglang.metrics",
    ),
    (
        "cascadia_patches.registry",
        "cascadia_sglang.acceptance",
        "cascadia_sglang.capacity",
        "cascadia_sglang.extras",
        "cascadia_sglang.files",
        "cascadia_sglang.prefix",
        "cascadia_sglang.processes",
    ),
    (
        "cascadia_patches.absent",
        "cascadia_patches.apply",
        "cascadia_patches.catalogue",
        "cascadia_sglang.cli",
        "cascadia_sglang.models",
    ),
    ("cascadia_sglang.__main__", "cascadia_sglang.config", "cascadia_sglang.plugin"),
    # What decides, without a server.
    (
        "cascadia_sglang.cpu_speculation",
        "cascadia_sglang.entry",
        "cascadia_sglang.planner.workload",
        "cascadia_sglang.sglang_state",
    ),
    ("cascadia_sglang.judge", "cascadia_sglang.planner.speed"),
    (
        "cascadia_sglang.calibration.answers",
        "cascadia_sglang.drafts",
        "cascadia_sglang.planner.problem",
        "cascadia_sglang.planner.simulation",
    ),
    (
        "cascadia_sglang.planner.objective",
        "cascadia_sglang.planner.plan",
        "cascadia_sglang.planner.progress",
    ),
    (
        "cascadia_sglang.memory",
        "cascadia_sglang.planner.deployment",
        "cascadia_sglang.planner.picture",
    ),
    ("cascadia_sglang.planner.latency",),
    ("cascadia_sglang.planner.thresholds",),
    (
        "cascadia_sglang.planner.baseline_router",
        "cascadia_sglang.planner.online",
        "cascadia_sglang.planner.whole",
    ),
    ("cascadia_sglang.planner.from_workload",),
    ("cascadia_sglang.planner.advice", "cascadia_sglang.planner.solve"),
    ("cascadia_sglang.planner", "cascadia_sglang.calibration.record"),
    ("cascadia_sglang.calibration.fit",),
    (
        "cascadia_sglang.calibration.report",
        "cascadia_sglang.model_checks",
        "cascadia_sglang.self_calibration",
    ),
    ("cascadia_sglang.calibration", "cascadia_sglang.schemas"),
    ("cascadia_sglang.platform", "cascadia_sglang.router"),
    # The server, by the process in which a line runs.
    ("cascadia_sglang.pool", "cascadia_sglang.worker"),
    ("cascadia_sglang.launch", "cascadia_sglang.request_guard"),
    (
        "cascadia_sglang.cluster",
        "cascadia_sglang.engine",
        "cascadia_sglang.init_file",
        "cascadia_sglang.profiling",
    ),
    ("cascadia_sglang.controller", "cascadia_sglang.fleet"),
    ("cascadia_sglang.page",),
    ("cascadia_sglang.commands", "cascadia_sglang.http", "cascadia_sglang.testing"),
    ("cascadia_sglang.http.clients", "cascadia_sglang.server"),
    ("cascadia_sglang.http.install",),
    # The hooks call up into what they serve.
    ("cascadia_patches",),
)

# Modules that may name types of higher rooms in annotations.
NAMES_HIGHER_TYPES: tuple[str, ...] = ("cascadia_sglang.sglang_state",)
