"""The metrics of a cascade."""

from cascadia_sglang.metrics.families import FAMILIES
from docs.generate.markdown import code, document, paragraph, table


def page() -> str:
    """A row per metric."""
    rows = [
        (
            code(family.name),
            family.kind,
            ", ".join(code(label) for label in family.labels) or "none",
            family.meaning,
        )
        for family in FAMILIES
    ]
    return document(
        "Metrics",
        paragraph(
            "With `--enable-metrics`, `/metrics` shows these beside SGLang's own metrics. Every "
            "gauge and counter has a sample from the start. A histogram `NAME` is queried as "
            "`NAME_bucket`, `NAME_sum` and `NAME_count`."
        ),
        table(("name", "kind", "labels", "meaning"), rows),
        "## Old names",
        paragraph(
            "The names once began with `cascadia:`. `--cascade-old-metric-names` shows the old "
            "names too. The next release drops that flag."
        ),
        paragraph(
            "Prometheus 2 asks for OpenMetrics. There prometheus_client turns the colon of a "
            "sample into an underscore. So that no series stands twice, OpenMetrics has the new "
            "names alone. This query finds both: "
            '`{__name__=~"cascadia[:_]requests_total"}`.'
        ),
    )
