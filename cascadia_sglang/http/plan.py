"""The answer of `GET /cascadia/plan`."""

from collections.abc import Iterable
from typing import Any

import msgspec

from cascadia_sglang.capacity.move_steps import Action
from cascadia_sglang.controller.controller import Controller
from cascadia_sglang.controller.mover import Mover


def active_plan(mover: Mover, controller: Controller | None) -> dict[str, Any]:
    """The plan that is in force, and how the last change to it went."""
    running = mover.running()
    last = mover.last
    return {
        "number": mover.number,
        "is_moving": mover.is_moving,
        "thresholds": list(running.thresholds),
        "pools": msgspec.to_builtins(mover.capacity()),
        "replicas": msgspec.to_builtins(running.replicas),
        "gpus": running.gpus,
        "gpu_budget": mover.gpu_budget,
        "planner": None if controller is None else controller.summary(),
        "last_move": None
        if last is None
        else {
            "seconds": round(last.seconds, 3),
            "steps": [
                {**action, "seconds": round(step.seconds, 3)}
                for action, step in zip(
                    plain_actions(step.action for step in last.steps), last.steps, strict=True
                )
            ],
        },
    }


def plain_actions(actions: Iterable[Action]) -> list[dict[str, Any]]:
    """Actions as plain data, each with its kind as `type`."""
    plain: list[dict[str, Any]] = [msgspec.to_builtins(action) for action in actions]
    return plain
