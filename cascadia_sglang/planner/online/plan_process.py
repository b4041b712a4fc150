"""Runs the planner in its own process, so that a failure there never stops the server.

python -m cascadia_sglang.planner.online.plan_process [sample.json] < request.json > proposal.json
"""

import math
import signal
import sys
import time
from pathlib import Path

import msgspec

from cascadia_sglang.errors import CascadiaError, PlanError, PlanTimeoutError
from cascadia_sglang.planner.online.plan_request import PlanRequest
from cascadia_sglang.planner.online.proposal import Proposal
from cascadia_sglang.planner.online.propose import propose
from cascadia_sglang.planner.thresholds.sample import load_plan_sample
from cascadia_sglang.processes.subprocess_call import ProcessFailedError, ask_process

COMMAND = (sys.executable, "-m", "cascadia_sglang.planner.online.plan_process")
# An orphan ends by itself after this long.
_LONGEST_S = 600


async def ask_planner(
    request: PlanRequest,
    deadline_s: float,
    command: tuple[str, ...] = COMMAND,
    sample: str | None = None,
) -> Proposal:
    """Have a process plan, and end it at the deadline.

    Args:
        sample: path of a planner's sample of the same tiers.

    Raises:
        PlanTimeoutError: if it took too long.
        PlanError: if it did not start or failed, or what it says is no plan for this request.
    """
    whole = (*command, *(() if sample is None else (sample,)))
    try:
        answer = await ask_process(whole, msgspec.json.encode(request), deadline_s)
    except TimeoutError:
        raise PlanTimeoutError(f"no plan within {deadline_s:g} s") from None
    except ProcessFailedError as error:
        raise PlanError(f"the planner {error}") from error
    try:
        proposal = msgspec.json.decode(answer, type=Proposal)
    except msgspec.DecodeError as error:
        raise PlanError(f"the planner said no plan: {error}") from error
    for line in proposal_faults(request, proposal):
        raise PlanError(f"the planner's plan: {line}")
    return proposal


def proposal_faults(request: PlanRequest, proposal: Proposal) -> list[str]:
    """Why a proposal cannot be carried out, a line per fault."""
    lines = []
    if proposal.pools.keys() != request.pools.keys():
        lines.append(f"it is of the pools {sorted(proposal.pools)}")
    for name, pool in proposal.pools.items():
        current = request.pools.get(name)
        least = 0 if current is not None and current.replicas == 0 else 1
        if pool.replicas < least or pool.tp_size < 1 or pool.pp_size < 1:
            lines.append(f"pool {name} has {pool.replicas} replicas")
    taken = sum(pool.replicas * pool.replica_gpus for pool in proposal.pools.values())
    if taken > request.gpu_budget:
        lines.append(f"it takes {taken} devices of {request.gpu_budget}")
    chosen = proposal.thresholds
    if chosen is not None and len(chosen) != len(request.thresholds):
        lines.append(f"it has {len(chosen)} thresholds, needed: {len(request.thresholds)}")
    if chosen is not None and not all(0.0 <= threshold <= 1.0 for threshold in chosen):
        lines.append(f"its thresholds are {chosen}, allowed: 0 to 1")
    for key in ("current_s", "predicted_s"):
        value = getattr(proposal, key)
        if not (math.isfinite(value) and value > 0):
            lines.append(f"{key} is {value}")
    return lines


def main() -> None:
    """Read a request, write a proposal."""
    signal.alarm(_LONGEST_S)
    started = time.monotonic()
    try:
        request = msgspec.json.decode(sys.stdin.buffer.read(), type=PlanRequest)
        sample = None
        if len(sys.argv) > 1:
            sample = load_plan_sample(Path(sys.argv[1]), [tier.name for tier in request.tiers])
        proposal = propose(request, sample)
    except (CascadiaError, msgspec.DecodeError) as error:
        sys.exit(str(error))
    done = msgspec.structs.replace(proposal, solve_s=time.monotonic() - started)
    sys.stdout.buffer.write(msgspec.json.encode(done))


if __name__ == "__main__":
    main()
