"""Who may import whom."""

import ast
import sys
from pathlib import Path

import pytest

from tests.repo.source import Source, product_files

PACKAGES = ("cascadia_sglang", "cascadia_kernels", "cascadia_patches")

# What everyone may use, and what itself uses nothing of the rest.
BASE = (
    "cascadia_sglang.acceptance",
    "cascadia_sglang.arrays",
    "cascadia_sglang.binomial_bounds",
    "cascadia_sglang.value_ranges",
    "cascadia_sglang.config",
    "cascadia_sglang.errors",
    "cascadia_sglang.extras",
    "cascadia_sglang.failure_counts",
    "cascadia_sglang.field_docs",
    "cascadia_sglang.files",
    "cascadia_sglang.messages",
    "cascadia_sglang.metrics",
    "cascadia_sglang.models",
    "cascadia_sglang.processes",
    "cascadia_sglang.progress",
    "cascadia_sglang.version",
)

# Modules that begin so, and all that they may import of the project besides themselves.
OWN_IMPORTS = {
    "cascadia_kernels": (),
    # What the hooks build on; the hooks themselves call up into the packages that they serve.
    "cascadia_patches.spec": (),
    "cascadia_patches.registry": ("cascadia_patches.spec",),
    "cascadia_patches.apply": (
        "cascadia_patches.registry",
        "cascadia_patches.spec",
        "cascadia_sglang.errors",
    ),
    "cascadia_patches.absent": ("cascadia_sglang.errors",),
    "demo": PACKAGES,
    **dict.fromkeys(BASE, BASE),
    # It names types of these in annotations alone.
    "cascadia_sglang.sglang_state": (
        *BASE,
        "cascadia_sglang.judge.attempt",
        "cascadia_sglang.prefix.prompt",
        "cascadia_sglang.drafts.followed_draft",
        "cascadia_sglang.drafts.session",
        "cascadia_sglang.engine.prompt_forms",
        "cascadia_sglang.router.request",
    ),
    "cascadia_sglang.judge": (*BASE, "cascadia_kernels", "cascadia_sglang.sglang_state"),
    "cascadia_sglang.calibration.answers": ("cascadia_sglang.judge.same_answer",),
    "cascadia_sglang.cpu_speculation": (
        "cascadia_patches.absent",
        "cascadia_patches.apply",
        "cascadia_patches.registry",
    ),
    "cascadia_sglang.calibration.record": (
        *BASE,
        "cascadia_sglang.judge",
        "cascadia_sglang.calibration.answers",
    ),
    "cascadia_sglang.calibration.fit": (
        *BASE,
        "cascadia_sglang.judge",
        "cascadia_sglang.entry",
        "cascadia_sglang.calibration.record",
    ),
    "cascadia_sglang.calibration.report": (
        *BASE,
        "cascadia_sglang.judge",
        "cascadia_sglang.entry",
        "cascadia_sglang.planner",
        "cascadia_sglang.calibration",
    ),
    "cascadia_sglang.entry": BASE,
    "cascadia_sglang.self_calibration": (
        *BASE,
        "cascadia_sglang.judge",
        "cascadia_sglang.calibration",
    ),
    "cascadia_sglang.router": (
        *BASE,
        "cascadia_sglang.judge",
        "cascadia_sglang.entry",
        "cascadia_sglang.prefix",
        "cascadia_sglang.drafts.policy",
        "cascadia_sglang.self_calibration.label",
    ),
    "cascadia_sglang.drafts": (
        *BASE,
        "cascadia_sglang.judge",
        "cascadia_sglang.sglang_state",
        "cascadia_kernels",
    ),
    "cascadia_sglang.capacity": BASE,
    "cascadia_sglang.planner": (*BASE, "cascadia_sglang.capacity"),
    "cascadia_sglang.memory": (*BASE, "cascadia_sglang.capacity", "cascadia_sglang.planner"),
    "cascadia_sglang.controller": (*BASE, "cascadia_sglang.capacity", "cascadia_sglang.planner"),
    "cascadia_sglang.profiling": (
        *BASE,
        "cascadia_sglang.planner",
        "cascadia_sglang.worker.step_log",
        "cascadia_sglang.worker.batch_shape",
    ),
    "cascadia_sglang.prefix": BASE,
    "cascadia_sglang.testing.engine": (
        *BASE,
        "cascadia_sglang.judge",
        "cascadia_sglang.router",
        "cascadia_sglang.prefix",
        "cascadia_sglang.testing.cascade",
        "cascadia_sglang.testing.replies",
        "cascadia_sglang.testing.requests",
    ),
}

# What decides and orders the moves: functions of their arguments, which know no clock, no event
# loop, no chance, no file and no process.
PURE = (
    "cascadia_sglang.capacity.move_steps",
    "cascadia_sglang.planner.online.plan_request",
    "cascadia_sglang.capacity.blocks",
    "cascadia_sglang.controller.traffic_change",
    "cascadia_sglang.controller.decision",
    "cascadia_sglang.capacity.ordering",
    "cascadia_sglang.planner.online.weighted_sample",
    "cascadia_sglang.controller.gears",
    "cascadia_sglang.capacity.layout",
    "cascadia_sglang.controller.monitor",
    "cascadia_sglang.planner.online.proposal",
    "cascadia_sglang.planner.online.propose",
    "cascadia_sglang.planner.online.window_simulation",
    "cascadia_sglang.capacity.placement",
    "cascadia_sglang.capacity.service_placement",
    "cascadia_sglang.capacity.place_search",
    "cascadia_sglang.capacity.displaced",
    "cascadia_sglang.capacity.cluster",
)
IMPURE_LIBRARIES = (
    "asyncio",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "subprocess",
    "threading",
    "time",
)

# A library, and the modules that may import it.
LIBRARIES = {
    "sglang": (
        "cascadia_sglang.models.parsers",
        "cascadia_sglang.plugin",
        "cascadia_sglang.platform",
        "cascadia_sglang.server",
        "cascadia_sglang.cluster",
        "cascadia_sglang.engine",
        "cascadia_sglang.fleet",
        "cascadia_sglang.launch",
        "cascadia_sglang.pool",
        "cascadia_sglang.request_guard",
        "cascadia_sglang.worker",
        "cascadia_sglang.model_checks.tokenizer",
        "cascadia_sglang.judge.changed_rows",
        "cascadia_sglang.judge.device_observer",
        "cascadia_sglang.judge.failed_step",
        "cascadia_sglang.judge.judge",
        "cascadia_sglang.judge.observer",
        "cascadia_sglang.judge.rating",
        "cascadia_sglang.judge.verification",
        "cascadia_sglang.cpu_speculation",
        "cascadia_sglang.drafts.follower",
        "cascadia_sglang.drafts.verify_window",
        "cascadia_sglang.drafts.reader",
        "cascadia_sglang.drafts.rollback",
        "cascadia_sglang.http",
        "cascadia_patches",
        "bench",
    ),
    "torch": (
        "cascadia_kernels",
        "cascadia_sglang.calibration.fit.probe",
        "cascadia_sglang.cpu_speculation",
        "cascadia_sglang.judge.changed_rows",
        "cascadia_sglang.judge.device_observer",
        "cascadia_sglang.judge.failed_step",
        "cascadia_sglang.judge.hidden",
        "cascadia_sglang.judge.judge",
        "cascadia_sglang.judge.observer",
        "cascadia_sglang.judge.verification",
        "cascadia_sglang.judge.self_test",
        "cascadia_sglang.platform",
        "cascadia_sglang.drafts.token_agreement",
        "cascadia_sglang.drafts.comparer",
        "cascadia_sglang.drafts.reader",
        "cascadia_sglang.drafts.session",
        "cascadia_sglang.drafts.rollback",
        "cascadia_sglang.drafts.device_copies",
        "cascadia_sglang.drafts.verify_window",
        "cascadia_sglang.cluster.node_launcher",
        "cascadia_sglang.engine",
        "cascadia_sglang.fleet",
        "cascadia_sglang.launch",
        "cascadia_sglang.pool",
        "cascadia_sglang.request_guard",
        "cascadia_sglang.worker",
        "cascadia_patches",
        "bench",
        "demo",
    ),
    "triton": ("cascadia_kernels", "bench"),
    "matplotlib": (
        "cascadia_sglang.calibration.report.picture",
        "cascadia_sglang.planner.picture",
        "bench",
    ),
    "highspy": ("cascadia_sglang.planner.deployment.milp",),
    "sklearn": ("cascadia_sglang.entry.fit", "bench"),
    "fastapi": (
        "cascadia_sglang.http",
        "cascadia_sglang.engine.ended_attempts",
        "cascadia_patches",
        "bench",
    ),
    "starlette": ("cascadia_sglang.http",),
    # A process of its own: nothing of Ray is in the server's.
    "ray": ("cascadia_sglang.cluster.ray_driver",),
}

# All that the kernels may import besides Python's own library.
KERNEL_LIBRARIES = ("torch", "triton")


def is_within(module: str, *roots: str) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def test_the_walk_sees_every_package() -> None:
    seen = {source.module.split(".")[0] for source in product_files()}
    assert seen == {*PACKAGES, "bench", "demo"}


@pytest.mark.parametrize("layer", OWN_IMPORTS)
def test_a_layer_imports_only_those_below_it(layer: str) -> None:
    wrong_imports = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if is_within(source.module, layer)
        for line, module in source.imports()
        if is_within(module, *PACKAGES, "bench", "demo")
        and not is_within(module, layer, *OWN_IMPORTS[layer])
    ]
    assert wrong_imports == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    wrong_imports = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if not is_within(source.module, *LIBRARIES[library])
        for line, module in source.imports()
        if is_within(module, library)
    ]
    assert wrong_imports == []


def test_kernels_import_torch_and_triton_only() -> None:
    allowed = (*sys.stdlib_module_names, *KERNEL_LIBRARIES, "cascadia_kernels")
    wrong_imports = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if is_within(source.module, "cascadia_kernels")
        for line, module in source.imports()
        if not is_within(module, *allowed)
    ]
    assert wrong_imports == []


def test_what_decides_on_moves_is_pure() -> None:
    wrong_imports = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if source.module in PURE
        for line, module in source.imports()
        if is_within(module, *IMPURE_LIBRARIES)
    ]
    assert wrong_imports == []
    assert {source.module for source in product_files()} >= set(PURE)


CAPACITY_WRITES = ("start", "drain", "stop_replica", "recover")

# The fleet and its parts, which alone change the pool. The server makes the pool for them.
POOL_WRITERS = {
    "cascadia_sglang.server.server",
    "cascadia_sglang.fleet.fleet",
    "cascadia_sglang.pool.pool",
    "cascadia_sglang.fleet.recovery",
    "cascadia_sglang.fleet.reserves",
    "cascadia_sglang.fleet.sleep",
    "cascadia_sglang.fleet.standby",
    "cascadia_sglang.fleet.starts",
}
# What the fleet alone writes of a worker. The engine notes attempts (`rids`, `ending`).
WORKER_FIELDS = {"state", "limits", "retired", "released", "socket"}


def names(source: Source, name: str) -> bool:
    """Whether a module names this, imported, annotated or called."""
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(source.tree))


def written(source: Source) -> set[str]:
    """Attributes that a module assigns on something other than `self`."""
    return {
        target.attr
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) != "self"
    }


def calls(source: Source, owner: str, names: tuple[str, ...]) -> set[str]:
    """Methods of these names that are called on something called `owner` or `_owner`."""
    return {
        node.func.attr
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in names
        and ast.unparse(node.func.value).split(".")[-1] in (owner, f"_{owner}")
    }


def test_the_fleet_and_its_parts_alone_write_the_pool() -> None:
    """By type: a `WorkerPool` has no method that changes it, a `WritablePool` has."""
    package = [s for s in product_files() if s.module.startswith("cascadia_sglang.")]
    assert {s.module for s in package if names(s, "WritablePool")} <= POOL_WRITERS
    assert {s.module for s in package if written(s) & WORKER_FIELDS} <= POOL_WRITERS


def test_the_mover_alone_changes_the_capacity() -> None:
    package = [s for s in product_files() if s.module.startswith("cascadia_sglang.")]
    capacity = {
        s.module
        for s in package
        if calls(s, "workers", CAPACITY_WRITES) or calls(s, "fleet", CAPACITY_WRITES)
    }
    assert capacity == {"cascadia_sglang.controller.mover"}


def test_no_package_imports_tests_or_benches() -> None:
    wrong_imports = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if is_within(source.module, *PACKAGES)
        for line, module in source.imports()
        if is_within(module, "tests", "bench", "demo", "pytest", "hypothesis")
    ]
    assert wrong_imports == []


def test_an_import_is_seen_wherever_it_stands() -> None:
    text = "def f():\n    from sglang.srt import utils\nimport triton.language as tl\n"
    source = Source(Path("x.py"), "x", text, ast.parse(text))
    assert sorted(source.imports()) == [(2, "sglang.srt.utils"), (3, "triton.language")]
