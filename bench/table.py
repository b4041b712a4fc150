"""The benches as text: a list for the terminal, and the table in bench/README.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.registry import NEEDS, Bench

BEGIN = "<!-- benches: written by `make docs` -->"
END = "<!-- end of benches -->"


def summary(benches: Sequence[Bench]) -> str:
    """Name and question of every bench, a line each."""
    width = max(len(bench.name) for bench in benches)
    return "\n".join(f"{bench.name:{width}}  {bench.question}" for bench in benches)


def details(bench: Bench) -> Iterator[str]:
    """All that the registry says of a bench."""
    minutes = "nobody has timed it" if bench.minutes is None else f"{bench.minutes:g}"
    yield f"{bench.name}: {bench.question}"
    for name in bench.needs:
        yield f"  needs    {name}: {NEEDS[name]}"
    yield f"  minutes  {minutes}"
    yield f"  writes   {', '.join(bench.writes) or 'nothing'}"
    for kind, module, runs in (
        ("before", "", bench.before),
        ("whole", bench.module, bench.arguments),
        ("smoke", bench.module, bench.smoke),
    ):
        for run in runs:
            yield f"  {kind:7}  {' '.join(filter(None, ('python -m', module, run)))}"


def table(benches: Sequence[Bench]) -> str:
    """Markdown, one line a bench, and under it what the needs mean."""
    rows = ["| bench | question | minutes | needs | smoke | writes |", "|---|---|---|---|---|---|"]
    for bench in benches:
        cells = (
            _command(bench),
            bench.question,
            "" if bench.minutes is None else f"{bench.minutes:g}",
            ", ".join(bench.needs),
            "yes" if bench.smoke else "no",
            ", ".join(f"`{path}`" for path in bench.writes),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, "", *(f"- **{name}**: {what}." for name, what in NEEDS.items())])


def _command(bench: Bench) -> str:
    first, *later = bench.arguments
    words = f"`python -m {bench.module} {first}".rstrip() + "`"
    words += "".join(f", then `{run or 'without'}`" for run in later)
    return words + "".join(f", after `{command}`" for command in bench.before)


def with_table(text: str, benches: Sequence[Bench]) -> str:
    """A document with the table between its two marks brought up to date.

    Raises:
        ValueError: if a mark is missing.
    """
    before, begin, remaining = text.partition(BEGIN)
    _, end, after = remaining.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(benches)}\n{END}{after}"
