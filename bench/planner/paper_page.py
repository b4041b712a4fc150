"""The page of the simulated experiments, from their cells."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.harness.rows import Facts, source_line

HEAD = """# The paper's experiments, simulated

**Nothing on this page was measured.** It is what the planner's simulator says of GPUs and models
that this project has not run. It must not stand beside measured numbers.

- *Step times* are a roofline of an H100's data sheet. Its constants were chosen by steps that
  engines publish for other models. The project ran none of these models on an H100.
- *Requests* are drawn: bursts around a mean rate, log-normal lengths. Trace 1 is long prompts and
  middling answers (means 1,200 and 220 tokens), trace 2 longer prompts and short answers (2,000 and
  40), trace 3 short prompts and long answers (500 and 450). Every tier writes answers of the same
  length; no prefix is shared.
- *Qualities and scores are assumed.* Hardness of prompts is normal, a tier is right where its skill
  exceeds it, scores are noisy: `graded_sample` in `bench/planner/fleet.py`. Mean qualities are
  0.65, 0.82 and 0.93 for the DeepSeek-like tiers (7B, 70B, 671B in four bits) and 0.68 and 0.86 for
  the Llama-like ones (8B, 70B). They come from no benchmark, and the paper's qualities are another
  scale: an external judge's, 0 to 100.
- *A step of routed experts* reads the experts that its tokens use and computes with 37 of the 671
  billion parameters, in four bits. On eight GPUs it takes 7.5 ms with one request and 21.6 ms with
  32; a step of the dense 70B model takes 14.8 and 15.2 ms. So the 671B model alone is ahead of a
  cascade through the 70B one, which decides much of what follows. The paper reports its cascade
  ahead of either model alone.
- The judge costs nothing here: it runs inside the engine. Every answer leaves whole.

All ways to serve have 32 H100 in four nodes, the same requests and the same floor on the expected
quality of the same sample, and run in the same simulator:

- *Cascadia*: the planner's plan, objective `path`: the least mean time of a request.
- *Cascadia, bottleneck*: the same with the paper's objective, the slowest tier's p95.
- *uniform GPUs*: the same number for every tier, the rest for the last; all else planned.
- *uniform parallelism*: every replica as wide as its heads and a node allow; all else planned.
- *one threshold*: for all tiers, the least at the floor; the deployment planned.
- *gears*: after CascadeServe. Replicas of the fewest GPUs, counts that balance the load,
  thresholds by the rate of the last ten seconds (floors 0.01 above and below). Its search over
  cascades and its queue-length rule are not rebuilt.
- *a tier alone*: all GPUs, in the shape and with the chunked-prefill size (2,048 to 16,384) of the
  least SLO scale. It keeps a floor that its own quality reaches.

*SLO scale*: the least multiple of each request's latency on an idle replica of the last tier within
which 95 % of requests are answered; lower is better. *Throughput*: answers per second while all
requests wait from the start, with the same deployment. A dash: the floor cannot be kept that way.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way to serve one trace at one floor; None where it cannot be kept.

    `floor` is None for a tier alone, which has the quality that it has; `told` is the deployment,
    or why there is none.
    """

    family: str
    trace: int
    rate_per_s: float
    floor: float | None
    name: str
    quality: float | None
    scale: float | None
    throughput_per_s: float | None
    told: str


def save_cells(path: Path, cells: Sequence[Cell], facts: Facts) -> None:
    """Write cells as CSV, a row each; what is None stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        names = [field.name for field in dataclasses.fields(Cell)]
        writer = csv.DictWriter(file, ["kind", *names, "source"], lineterminator="\n")
        writer.writeheader()
        for cell in cells:
            row = {"kind": "simulated", **dataclasses.asdict(cell), "source": source_line(facts)}
            writer.writerow(row)


def load_cells(path: Path) -> tuple[list[Cell], str]:
    """The cells of a file, and the line that says where they come from."""

    def number(text: str) -> float | None:
        return float(text) if text else None

    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = [
        Cell(
            family=row["family"],
            trace=int(row["trace"]),
            rate_per_s=float(row["rate_per_s"]),
            floor=number(row["floor"]),
            name=row["name"],
            quality=number(row["quality"]),
            scale=number(row["scale"]),
            throughput_per_s=number(row["throughput_per_s"]),
            told=row["told"],
        )
        for row in rows
    ]
    return cells, rows[0]["source"]


def page(cells: Sequence[Cell], source: str) -> str:
    """Markdown: what is assumed, a summary, a table a family and trace.

    Args:
        source: the line that says where the cells come from.
    """
    lines = [HEAD]
    for family in dict.fromkeys(cell.family for cell in cells):
        mine = [cell for cell in cells if cell.family == family]
        lines += [f"## {family}", "", *_summary(mine), ""]
        for trace in dict.fromkeys(cell.trace for cell in mine):
            lines += [*_table([cell for cell in mine if cell.trace == trace]), ""]
    lines += [source, ""]
    return "\n".join(lines)


def _table(cells: Sequence[Cell]) -> list[str]:
    first = cells[0]
    lines = [
        f"### {first.family}, trace {first.trace} at {first.rate_per_s:g} requests/s",
        "",
        "| floor | served by | quality | SLO scale | throughput /s | deployment |",
        "|---|---|---|---|---|---|",
    ]
    for cell in cells:
        floor = "-" if cell.floor is None else f"{cell.floor:g}"
        if cell.quality is None or cell.scale is None or cell.throughput_per_s is None:
            lines.append(f"| {floor} | {cell.name} | - | - | - | {cell.told} |")
            continue
        lines.append(
            f"| {floor} | {cell.name} | {cell.quality:.3f} | {cell.scale:.2f} "
            f"| {cell.throughput_per_s:.1f} | {cell.told} |"
        )
    return lines


def _summary(cells: Sequence[Cell]) -> list[str]:
    """By how much each way is behind Cascadia's plan, over all traces and floors that both keep."""
    lines = [
        "| beside Cascadia's plan | cases | SLO scale, times (median, least, most) "
        "| throughput, times (median, least, most) |",
        "|---|---|---|---|",
    ]
    ours = [cell for cell in cells if cell.name == "Cascadia"]
    for name in dict.fromkeys(cell.name for cell in cells if cell.name != "Cascadia"):
        scales, rates = [], []
        for cascadia in ours:
            rival = _rival(cells, cascadia, name)
            if (
                rival is None
                or cascadia.scale is None
                or cascadia.throughput_per_s is None
                or rival.scale is None
                or rival.throughput_per_s is None
            ):
                continue
            scales.append(rival.scale / cascadia.scale)
            rates.append(rival.throughput_per_s / cascadia.throughput_per_s)
        if scales:
            lines.append(f"| {name} | {len(scales)} | {_spread(scales)} | {_spread(rates)} |")
    return lines


def _rival(cells: Sequence[Cell], cascadia: Cell, name: str) -> Cell | None:
    """The cell of another way for the same trace and floor; a tier alone keeps what it reaches."""
    for cell in cells:
        if cell.name == name and cell.trace == cascadia.trace:
            if cell.floor == cascadia.floor:
                return cell
            if cell.floor is None and (cell.quality or 0.0) >= (cascadia.floor or 0.0):
                return cell
    return None


def _spread(values: Sequence[float]) -> str:
    ranked = sorted(values)
    middle = ranked[len(ranked) // 2]
    return f"{middle:.2f} ({ranked[0]:.2f} to {ranked[-1]:.2f})"
