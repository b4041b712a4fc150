"""The keys of the files that commands write, and of setup files."""

import msgspec

from cascadia_sglang.field_docs import nested_structs
from cascadia_sglang.judge.calibration import Calibration
from cascadia_sglang.planner.plan import NoPlan, Plan
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
)


def page() -> str:
    """A part per file, a section per struct of it that no earlier file has."""
    parts: list[str] = []
    described: set[type[msgspec.Struct]] = set()
    for title, schema, struct, about in FILES:
        parts += [
            f"## {title}",
            paragraph(f"{about} `cascadia schema {schema}` prints its JSON schema."),
            *sections(struct, level=3, skipped=frozenset(described)),
        ]
        described |= set(nested_structs(struct))
    return document(
        "Other files",
        paragraph(
            "These files are JSON. [Cascade files](configuration.md) and "
            "[problem files](problem-file.md) have pages of their own. "
            "A part that an earlier file on this page has too is described there."
        ),
        *parts,
    )
