"""The keys of the files that commands write, and of setup files."""

import msgspec

from cascadia_sglang.field_docs import nested_structs
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.planner.plan import NoPlan, Plan, Sweep
from cascadia_sglang.planner.simulation.scenario import Scenario
from cascadia_sglang.planner.speed.profile import Profile
from cascadia_sglang.planner.thresholds.sample import PlanSample
from docs.generate.markdown import document, paragraph
from docs.generate.settings import sections

# Title, schema and struct of each file, and where it comes from. A struct of an earlier file is
# described there.
FILES: tuple[tuple[str, str, type[msgspec.Struct], str], ...] = (
    (
        "Calibration",
        "calibration",
        Calibration,
        "`cascadia calibrate` writes one per tier. A server reads it.",
    ),
    (
        "Planner sample",
        "planner-sample",
        PlanSample,
        "`cascadia calibrate` writes it. The controller reads it, by `planner.sample`.",
    ),
    (
        "Profile",
        "profile",
        Profile,
        "`cascadia profile` writes it. The planner, the simulator and the controller read it.",
    ),
    (
        "Setup",
        "setup",
        Scenario,
        "You write it. `cascadia simulate` reads it.",
    ),
)
# The same of what `cascadia plan` prints.
PLAN_FILES: tuple[tuple[str, str, type[msgspec.Struct], str], ...] = (
    (
        "Plan",
        "plan",
        Plan,
        "`cascadia plan --json` prints it. `cascadia simulate` reads it, if it comes from a "
        "workload.",
    ),
    (
        "No plan",
        "no-plan",
        NoPlan,
        "`cascadia plan --json` prints it if there is no plan.",
    ),
    (
        "Sweep",
        "sweep",
        Sweep,
        "`cascadia plan --sweep --json` prints it.",
    ),
)


def page() -> str:
    """The files that a page of their own would be too short for."""
    return _page("Other files", "[plans](plan-files.md)", FILES)


def plan_page() -> str:
    """The files that hold plans."""
    return _page("Plan files", "[other files](other-files.md)", PLAN_FILES)


def _page(
    title: str, others: str, files: tuple[tuple[str, str, type[msgspec.Struct], str], ...]
) -> str:
    """A part per file, a section per struct of it that no earlier file has."""
    parts: list[str] = []
    described: set[type[msgspec.Struct]] = set()
    for name, schema, struct, about in files:
        parts += [
            f"## {name}",
            paragraph(f"{about} `cascadia schema {schema}` prints its JSON schema."),
            *sections(struct, level=3, skipped=frozenset(described)),
        ]
        described |= set(nested_structs(struct))
    return document(
        title,
        paragraph(
            "These files are JSON. [Cascade files](configuration.md), "
            f"[problem files](problem-file.md) and {others} have pages of their own. "
            "A part that an earlier file on this page has too is described there."
        ),
        *parts,
    )
