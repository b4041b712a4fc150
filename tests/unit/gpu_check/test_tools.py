"""What NVIDIA's tools print, and the batch that SGLang's prefill graphs make."""

from bench.gpu_check.bare_machine.worker_hooks import graph_batch_fields
from bench.gpu_check.checks.tools import counter_values, errors_found

NCU = """==PROF== Connected to process 123
==PROF== Profiling "row_statistics_kernel": 0%....100% - 1 pass
ran
==PROF== Disconnected from process 123
"ID","Process ID","Kernel Name","Context","Metric Name","Metric Unit","Metric Value"
"0","123","row_statistics_kernel(float *, long)","1","gpu__time_duration.sum","ns","12,345.5"
"0","123","row_statistics_kernel(float *, long)","1","dram__throughput.avg","%","71.25"
"1","123","fold_sampled_kernel","1","gpu__time_duration.sum","ns","n/a"
"""


def test_counters_are_read_from_behind_whatever_ncu_says_first() -> None:
    assert list(counter_values(NCU)) == [
        ("row_statistics_kernel", "gpu__time_duration.sum", "ns", 12345.5),
        ("row_statistics_kernel", "dram__throughput.avg", "%", 71.25),
    ]
    assert list(counter_values("==ERROR== no such metric\n")) == []


def test_the_sanitizers_own_count_is_taken() -> None:
    assert errors_found("ran\n========= ERROR SUMMARY: 0 errors\n") == 0
    assert errors_found("========= ERROR SUMMARY: 1 error\n") == 1
    assert errors_found("Device not supported\n") is None


def test_a_graphs_batch_has_lengths_and_no_request_ids() -> None:
    """What the stage `drafts` hands the model on a CPU is what SGLang's own source makes."""
    fields = graph_batch_fields()
    assert {"extend_prefix_lens_cpu", "extend_seq_lens_cpu", "forward_mode"} <= fields
    assert "rids" not in fields
