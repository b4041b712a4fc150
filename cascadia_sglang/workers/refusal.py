"""Attempts that the engine refused, and those that are ended as if it had."""

from typing import Any

import fastapi

from cascadia_sglang.router.engine import Output


def raise_if_refused(output: Output) -> None:
    """What SGLang raises for an answer that is not streamed, it sends as the last of a stream."""
    reason = output["meta_info"].get("finish_reason") or {}
    status = reason.get("status_code")
    if reason.get("type") != "abort" or status is None:
        return
    if status == 400:
        raise ValueError(reason["message"])
    raise fastapi.HTTPException(status_code=status, detail=reason["message"])


def end_as_refused(state: Any, rid: str) -> None:
    """End a request of SGLang's tokenizer manager as one that a scheduler refused."""
    reason = {"type": "abort", "message": "the worker was lost", "status_code": 503}
    state.out_list.append(
        {"text": "", "output_ids": [], "meta_info": {"id": rid, "finish_reason": reason}}
    )
    state.finished = True
    state.event.set()
