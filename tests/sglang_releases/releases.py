"""The SGLang releases whose source is compared with what the packages ask for."""

# What only some cascades need: NGRAM speculation on a host without an accelerator, and workers on
# several machines. A start without it says so.
OPTIONAL = (
    "sglang.kernels.ops.speculative.spec_tree.verify_tree_greedy_func",
    "sglang.srt.platforms.interface.SRTPlatform.get_speculative_worker_cls",
    "sglang.srt.utils.network.restrict_zmq_peers",
)

# What each release lacks.
LACKS: dict[str, tuple[str, ...]] = {
    "0.5.21": (
        *OPTIONAL,
        "sglang.srt.managers.schedule_batch.Req.extend_end",
        "sglang.srt.platforms.interface.SRTPlatform.get_kv_pool_cls",
        "sglang.srt.runtime_context.create_context",
        "sglang.srt.runtime_context.use_context",
        "sglang.srt.sampling.sampling_batch_info.SamplingBatchInfo.has_watermark_candidates",
        "sglang.srt.sampling.sampling_batch_info.SamplingBatchInfo.watermark_candidates_host",
    ),
    "0.5.22": OPTIONAL,
    "0.5.23": (),
}
