"""What a worker imports, and what SGLang makes of the checks' flags on a card.

    python -m bench.gpu_check.bare_machine.imports [--faked-card]

In a process of its own: the card may be faked. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
import traceback

from bench.gpu_check.bare_machine import faked_card
from bench.gpu_check.checks.servers import FLAGS, MEMORY

MODULES = (
    "sglang.srt.managers.scheduler",
    "sglang.srt.managers.tp_worker",
    "sglang.srt.models.qwen3",
    "sglang.srt.entrypoints.http_server",
    "sglang.srt.entrypoints.openai.serving_responses",
    "cascadia_sglang.server.server",
    "cascadia_sglang.worker.main",
)


def failed_imports() -> dict[str, str]:
    """Modules that cannot be imported, with the error."""
    failed = {}
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  whatever a library raises at import
            traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


def resolved(model: str) -> dict[str, object]:
    """SGLang's settings for a server of this model on the card."""
    from sglang.srt.arg_groups.overrides import attention_backends_of, resolved_view
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    namespace = parser.parse_args(["--model-path", model, *FLAGS, *MEMORY])
    server_args = ServerArgs.from_cli_args(namespace)
    server_args.resolve_once()
    view = resolved_view(server_args)
    graphs = view.cuda_graph_config
    return {
        "device": view.device,
        "attention": str(attention_backends_of(view)),
        "sampling": view.sampling_backend,
        "page_size": view.page_size,
        "prefill_graphs": str(graphs.prefill.backend),
        "decode_graphs": str(graphs.decode.backend),
        "overlap": not view.disable_overlap_schedule,
        "mem_fraction_static": view.mem_fraction_static,
    }


def main() -> None:
    """Import, resolve, and say what came of it on the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faked-card", action="store_true")
    options = parser.parse_args()
    if options.faked_card:
        faked_card.install()
    started = time.monotonic()
    findings: dict[str, object] = {"failed": failed_imports()}
    findings["import_s"] = round(time.monotonic() - started, 2)
    try:
        findings["resolved"] = resolved("demo/models/small")
    except Exception as error:  # noqa: BLE001  a fault of the resolver is a result
        traceback.print_exc()
        findings["resolver_error"] = f"{type(error).__name__}: {error}"
    sys.stdout.flush()
    print(json.dumps(findings, default=str))


if __name__ == "__main__":
    main()
