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
    "cascadia_sglang.asked_process",
    "cascadia_sglang.binomial_bounds",
    "cascadia_sglang.bounds",
    "cascadia_sglang.cascade_checks",
    "cascadia_sglang.cascade_file",
    "cascadia_sglang.cascade_paths",
    "cascadia_sglang.child_server",
    "cascadia_sglang.config",
    "cascadia_sglang.errors",
    "cascadia_sglang.escalation",
    "cascadia_sglang.extras",
    "cascadia_sglang.field_docs",
    "cascadia_sglang.hub_check",
    "cascadia_sglang.json_text",
    "cascadia_sglang.messages",
    "cascadia_sglang.model_config",
    "cascadia_sglang.nearest",
    "cascadia_sglang.pool_specs",
    "cascadia_sglang.refused_flags",
    "cascadia_sglang.metric_families",
    "cascadia_sglang.metric_labels",
    "cascadia_sglang.metrics",
    "cascadia_sglang.label_settings",
    "cascadia_sglang.struct_file",
    "cascadia_sglang.unknown_keys",
    "cascadia_sglang.version",
    "cascadia_sglang.yaml_text",
)

# Modules that begin so, and all that they may import of the project besides themselves.
OWN_IMPORTS = {
    "cascadia_kernels": (),
    **dict.fromkeys(BASE, BASE),
    "cascadia_sglang.judge": (*BASE, "cascadia_kernels"),
    "cascadia_sglang.calibration": (*BASE, "cascadia_sglang.judge", "cascadia_sglang.entry"),
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
        "cascadia_sglang.verify.worth",
        "cascadia_sglang.self_calibration.label",
    ),
    "cascadia_sglang.verify": (*BASE, "cascadia_sglang.judge", "cascadia_kernels"),
    "cascadia_sglang.planner": BASE,
    "cascadia_sglang.memory": (*BASE, "cascadia_sglang.planner", "cascadia_sglang.reallocation"),
    "cascadia_sglang.reallocation": (*BASE, "cascadia_sglang.planner"),
    "cascadia_sglang.profiling": (
        *BASE,
        "cascadia_sglang.planner",
        "cascadia_sglang.workers.step_log",
        "cascadia_sglang.workers.batch_shape",
    ),
    "cascadia_sglang.prefix": BASE,
    "cascadia_sglang.testing": (
        *BASE,
        "cascadia_sglang.judge",
        "cascadia_sglang.router",
        "cascadia_sglang.prefix",
        "cascadia_sglang.testing_replies",
    ),
}

# What decides and orders the moves: functions of their arguments, which know no clock, no event
# loop, no chance, no file and no process.
PURE = (
    "cascadia_sglang.reallocation.actions",
    "cascadia_sglang.reallocation.asked",
    "cascadia_sglang.reallocation.blocks",
    "cascadia_sglang.reallocation.change",
    "cascadia_sglang.reallocation.decide",
    "cascadia_sglang.reallocation.diff",
    "cascadia_sglang.reallocation.follow",
    "cascadia_sglang.reallocation.gears",
    "cascadia_sglang.reallocation.layout",
    "cascadia_sglang.reallocation.monitor",
    "cascadia_sglang.reallocation.proposal",
    "cascadia_sglang.reallocation.propose",
    "cascadia_sglang.reallocation.replayed",
    "cascadia_sglang.planner.replica_placement",
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
        "cascadia_sglang.plugin",
        "cascadia_sglang.platform",
        "cascadia_sglang.server",
        "cascadia_sglang.start",
        "cascadia_sglang.workers",
        "cascadia_sglang.judge.changed_rows",
        "cascadia_sglang.judge.device_observer",
        "cascadia_sglang.judge.judge",
        "cascadia_sglang.judge.observer",
        "cascadia_sglang.verify.reader",
        "cascadia_sglang.verify.taking_back",
        "cascadia_sglang.http",
        "cascadia_patches",
        "bench",
    ),
    "torch": (
        "cascadia_kernels",
        "cascadia_sglang.calibration.probe",
        "cascadia_sglang.judge.changed_rows",
        "cascadia_sglang.judge.device_observer",
        "cascadia_sglang.judge.hidden",
        "cascadia_sglang.judge.judge",
        "cascadia_sglang.judge.observer",
        "cascadia_sglang.judge.self_test",
        "cascadia_sglang.platform",
        "cascadia_sglang.verify.compare",
        "cascadia_sglang.verify.comparer",
        "cascadia_sglang.verify.reader",
        "cascadia_sglang.verify.reading",
        "cascadia_sglang.verify.taking_back",
        "cascadia_sglang.verify.transfers",
        "cascadia_sglang.workers",
        "bench",
    ),
    "triton": ("cascadia_kernels", "bench"),
    "matplotlib": (
        "cascadia_sglang.calibration.picture",
        "cascadia_sglang.planner.picture",
        "bench",
    ),
    "highspy": ("cascadia_sglang.planner.milp",),
    "sklearn": ("cascadia_sglang.entry.fit", "bench"),
    "fastapi": (
        "cascadia_sglang.http",
        "cascadia_sglang.workers.refusal",
        "cascadia_patches",
        "bench",
    ),
    "starlette": ("cascadia_sglang.http",),
}

# All that the kernels may import besides Python's own library.
KERNEL_LIBRARIES = ("torch", "triton")


def is_within(module: str, *roots: str) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def test_the_walk_sees_every_package() -> None:
    seen = {source.module.split(".")[0] for source in product_files()}
    assert seen == {*PACKAGES, "bench"}


@pytest.mark.parametrize("layer", OWN_IMPORTS)
def test_a_layer_imports_only_those_below_it(layer: str) -> None:
    found = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if is_within(source.module, layer)
        for line, module in source.imports()
        if is_within(module, *PACKAGES, "bench")
        and not is_within(module, layer, *OWN_IMPORTS[layer])
    ]
    assert found == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    found = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if not is_within(source.module, *LIBRARIES[library])
        for line, module in source.imports()
        if is_within(module, library)
    ]
    assert found == []


def test_kernels_import_torch_and_triton_only() -> None:
    allowed = (*sys.stdlib_module_names, *KERNEL_LIBRARIES, "cascadia_kernels")
    found = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if is_within(source.module, "cascadia_kernels")
        for line, module in source.imports()
        if not is_within(module, *allowed)
    ]
    assert found == []


def test_what_decides_on_moves_is_pure() -> None:
    found = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if source.module in PURE
        for line, module in source.imports()
        if is_within(module, *IMPURE_LIBRARIES)
    ]
    assert found == []
    assert {source.module for source in product_files()} >= set(PURE)


# Calls that change which workers there are, or which of them accept requests.
POOL_WRITES = ("add", "admit", "drain", "remove")
CAPACITY_WRITES = ("start", "drain", "stop_replica", "recover")


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


def test_the_fleet_alone_writes_the_pool_and_the_mover_alone_changes_the_capacity() -> None:
    """But for the end of the server, which drains everything."""
    package = [s for s in product_files() if s.module.startswith("cascadia_sglang.")]
    pool = {s.module for s in package if calls(s, "pool", POOL_WRITES)}
    assert pool == {"cascadia_sglang.workers.fleet", "cascadia_sglang.workers.stop"}
    capacity = {
        s.module
        for s in package
        if calls(s, "workers", CAPACITY_WRITES) or calls(s, "fleet", CAPACITY_WRITES)
    }
    assert capacity == {"cascadia_sglang.reallocation.mover"}


def test_no_package_imports_tests_or_benches() -> None:
    found = [
        f"{source}:{line} imports {module}"
        for source in product_files()
        if is_within(source.module, *PACKAGES)
        for line, module in source.imports()
        if is_within(module, "tests", "bench", "pytest", "hypothesis")
    ]
    assert found == []


def test_an_import_is_seen_wherever_it_stands() -> None:
    text = "def f():\n    from sglang.srt import utils\nimport triton.language as tl\n"
    source = Source(Path("x.py"), "x", text, ast.parse(text))
    assert sorted(source.imports()) == [(2, "sglang.srt.utils"), (3, "triton.language")]
