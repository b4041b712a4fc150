"""Every patch by name, grouped by the process in which it is in force.

A name is the folder and the module that hold the patch, such as `scheduler.scheduler_run_batch`.
Modules are imported when their patch is loaded: a process imports only what it needs.
"""

import importlib

from cascadia_patches.spec import PatchSpec

# Flags of the command line. The only patches of a process that serves no cascade.
ARGUMENT_PATCHES = ("launch.server_args_add_cli_args", "launch.server_args_from_cli_args")

# Of the main process of a cascade, in the order in which a start meets them.
SERVER_PATCHES = (
    "launch.engine_set_envs_and_config",
    "launch.engine_launch_scheduler_processes",
    "launch.engine_launch_detokenizer_subprocesses",
    "tokenizer.tokenizer_manager_init_ipc_channels",
    "launch.http_server_setup_and_run_http_server",
    "launch.http_server_wait_and_warmup",
    "serving.openai_serving_chat_convert_to_internal_request",
    "serving.openai_serving_chat_validate_media_content",
    "serving.openai_serving_chat_handle_non_streaming_request",
    "serving.openai_serving_chat_generate_chat_stream",
    "serving.openai_serving_completion_convert_to_internal_request",
    "serving.openai_serving_responses_create_responses",
    "serving.anthropic_serving_convert_to_chat_completion_request",
    "serving.anthropic_serving_error_response",
    "serving.anthropic_serving_handle_count_tokens",
    "serving.openai_serving_tokenize_handle_non_streaming_request",
    "serving.openai_serving_detokenize_handle_non_streaming_request",
    "serving.mistral_detector_parse_streaming_increment",
    "serving.internlm_detector_parse_streaming_increment",
    "tokenizer.tokenizer_manager_generate_request",
    "tokenizer.tokenizer_manager_validate_one_request",
    "tokenizer.tokenizer_manager_dispatch_to_scheduler",
    "tokenizer.tokenizer_manager_async_dispatch_to_scheduler",
    "tokenizer.tokenizer_manager_abort_request",
    "tokenizer.fan_out_communicator_call",
    "tokenizer.fan_out_communicator_handle_recv",
    "tokenizer.tokenizer_manager_wait_for_model_update_from_disk",
    "tokenizer.tokenizer_manager_handle_update_weights_from_disk_req_output",
    "tokenizer.tokenizer_control_mixin_get_loads",
    "tokenizer.tokenizer_manager_update_request_meta_info",
    "tokenizer.tokenizer_manager_convert_logprob_style",
    "tokenizer.tokenizer_manager_sigterm_watchdog",
)

# Of every engine worker.
WORKER_PATCHES = (
    "process.watchdog_raw_watchdog_once",
    "scheduler.req_check_str_based_finish",
    "scheduler.xgrammar_grammar_fill_vocab_mask",
    "scheduler.req_update_finish_state",
)

# Of an engine worker and of the detokenizer: where its log goes.
LOG_PATCHES = ("process.configure_logger",)

# Of a worker's first rank: how far its start has come.
PROGRESS_PATCHES = ("model.default_model_loader_get_all_weights",)

# Of every engine worker: how much memory of its devices, or of the host, is there for it.
MEMORY_PATCHES = ("process.get_available_gpu_memory",)

# Of the main process and of an engine worker, where workers share devices.
CAPACITY_PATCHES = ("process.get_device_memory_capacity",)

# Of an engine worker that judges.
JUDGE_PATCHES = ("model.model_runner_init",)

# Of an engine worker that judges and decodes speculatively.
SPECULATION_JUDGE_PATCHES = (
    "model.model_runner_supports_sampling_observer",
    "speculation.eagle_utils_eagle_sample",
)

# Of an engine worker that decodes speculatively on a host without an accelerator.
CPU_SPECULATION_PATCHES = (
    "speculation.spec_tree_verify_tree_greedy_func",
    "speculation.allocation_assign_req_to_token_pool_func",
    "speculation.spec_utils_move_accept_tokens_to_target_kvcache",
    "speculation.torch_native_attn_backend_forward_extend",
)

# Of an engine worker whose NGRAM speculation follows drafts.
FOLLOW_PATCHES = ("speculation.ngram_worker_prepare_draft_tokens",)

# Of such a worker whose window follows the load.
WINDOW_PATCHES = ("speculation.ngram_worker_forward_batch_generation",)

# Of an engine worker that reads drafts.
DRAFT_PATCHES = (
    "scheduler.scheduler_add_request_to_queue",
    "scheduler.req_compute_max_prefix_len",
    "model.model_runner_forward",
    "model.logits_processor_forward",
    "scheduler.scheduler_relay_forward_payload",
    "scheduler.scheduler_launch_batch_sample_if_needed",
)

# Of an engine worker that says more of a request than its answer.
REPORT_PATCHES = ("scheduler.scheduler_get_output_streamer_class",)

# Of an engine worker that judges by a calibration with a probe.
PROBE_PATCHES = ("model.model_runner_sample",)

# Of an engine worker that publishes what its prefix cache holds.
EVENT_PATCHES = ("scheduler.get_hash_str",)

# Of an engine worker on an emulated device.
PACE_PATCHES = ("model.tp_model_worker_forward_batch_generation",)

# Of an engine worker whose steps `cascadia profile` measures.
STEP_LOG_PATCHES = ("scheduler.scheduler_run_batch", "scheduler.scheduler_process_batch_result")

ALL_PATCHES = (
    *ARGUMENT_PATCHES,
    *SERVER_PATCHES,
    *WORKER_PATCHES,
    *LOG_PATCHES,
    *PROGRESS_PATCHES,
    *MEMORY_PATCHES,
    *CAPACITY_PATCHES,
    *JUDGE_PATCHES,
    *SPECULATION_JUDGE_PATCHES,
    *CPU_SPECULATION_PATCHES,
    *FOLLOW_PATCHES,
    *WINDOW_PATCHES,
    *DRAFT_PATCHES,
    *REPORT_PATCHES,
    *PROBE_PATCHES,
    *EVENT_PATCHES,
    *PACE_PATCHES,
    *STEP_LOG_PATCHES,
)


def load_patch(name: str) -> PatchSpec:
    """Import the module of this name below `cascadia_patches` and return its patch."""
    patch: PatchSpec = importlib.import_module(f"cascadia_patches.{name}").PATCH
    return patch
