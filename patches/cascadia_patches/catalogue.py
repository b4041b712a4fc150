"""The table of patches in patches/README.md, made from the patches themselves.

python -m cascadia_patches.catalogue patches/README.md     # writes the table anew
"""

import sys
from pathlib import Path

from cascadia_patches.registry import (
    ARGUMENT_PATCHES,
    CAPACITY_PATCHES,
    CPU_SPECULATION_PATCHES,
    DRAFT_PATCHES,
    EVENT_PATCHES,
    FOLLOW_PATCHES,
    JUDGE_PATCHES,
    LOG_PATCHES,
    MEMORY_PATCHES,
    PACE_PATCHES,
    PROBE_PATCHES,
    PROGRESS_PATCHES,
    REPORT_PATCHES,
    SERVER_PATCHES,
    SPECULATION_JUDGE_PATCHES,
    STEP_LOG_PATCHES,
    WINDOW_PATCHES,
    WORKER_PATCHES,
    load_patch,
)

BEGIN = "<!-- patches: written by `make docs` -->"
END = "<!-- end of patches -->"

_WHERE = (
    ("every SGLang process", ARGUMENT_PATCHES),
    ("the main process of a cascade", SERVER_PATCHES),
    ("every engine worker", (*WORKER_PATCHES, *MEMORY_PATCHES)),
    ("every engine worker and the detokenizer", LOG_PATCHES),
    ("the first rank of every engine worker", PROGRESS_PATCHES),
    ("the main process and an engine worker, where devices are shared", CAPACITY_PATCHES),
    ("an engine worker that judges", JUDGE_PATCHES),
    ("an engine worker that judges speculative decoding", SPECULATION_JUDGE_PATCHES),
    ("an engine worker with NGRAM speculation, without an accelerator", CPU_SPECULATION_PATCHES),
    ("an engine worker whose NGRAM speculation follows drafts", FOLLOW_PATCHES),
    ("such a worker under `drafts: auto`", WINDOW_PATCHES),
    ("an engine worker that reads drafts", DRAFT_PATCHES),
    ("an engine worker that judges or reads drafts", REPORT_PATCHES),
    ("an engine worker whose calibration has a probe", PROBE_PATCHES),
    ("an engine worker that publishes what its cache holds", EVENT_PATCHES),
    ("an engine worker on an emulated device", PACE_PATCHES),
    ("an engine worker that `cascadia profile` measures", STEP_LOG_PATCHES),
)


def table() -> str:
    """Markdown, one line a patch, in the order in which a start meets them."""
    lines = ["| target | hook | in | why | drop when |", "|---|---|---|---|---|"]
    for process, names in _WHERE:
        for patch in map(load_patch, names):
            target = patch.target.removeprefix("sglang.srt.")
            lines.append(
                f"| `{target}` | {patch.hook_type} | {process} | "
                f"{patch.reason} | {patch.drop_when} |"
            )
    return "\n".join(lines)


def with_table(text: str) -> str:
    """A document with the table between its two marks brought up to date."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> None:
    """Rewrite the table of the document named on the command line."""
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text()))


if __name__ == "__main__":
    main()
