"""A streamed attempt that the engine refused."""

import fastapi

from cascadia_sglang.router.attempt import Output


def raise_if_refused(output: Output) -> None:
    """What SGLang raises for an answer that is not streamed, it sends as the last of a stream."""
    reason = output["meta_info"].get("finish_reason") or {}
    status = reason.get("status_code")
    if reason.get("type") != "abort" or status is None:
        return
    if status == 400:
        raise ValueError(reason["message"])
    raise fastapi.HTTPException(status_code=status, detail=reason["message"])
