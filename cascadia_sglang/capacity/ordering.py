"""The order of starts and stops that turns the running plan into another one. Pure.

After every step, and while it is carried out:

- no device belongs to two replicas;
- the replicas hold no more devices than the budget, unless they did so before;
- every pool of both plans that has a replica on a node that is up has one that accepts requests;
- a replica that both plans hold is not touched.

A replica is stopped only when no further one can be started, wherever such an order exists. While
one finishes its requests, the next one to be stopped is drained too, where its pool keeps another:
drains overlap, and never more than two, so little capacity idles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cascadia_sglang.capacity.cluster import Cluster
from cascadia_sglang.capacity.devices import Device
from cascadia_sglang.capacity.move_steps import Action, Drain, SetThresholds, Start, Stop
from cascadia_sglang.capacity.types import RunningPlan, RunningReplica
from cascadia_sglang.errors import InfeasibleMoveError

# Sets of running replicas that are looked at before the search is given up.
MAX_STATES = 20_000

_Present = frozenset[RunningReplica]


def order_steps(
    current: RunningPlan, target: RunningPlan, cluster: Cluster, gpu_budget: int | None
) -> list[Action]:
    """The actions in their order; none where the plans are equal.

    Args:
        cluster: where both plans' replicas lie.
        gpu_budget: devices that may be held at a time; None for all that there are.

    Raises:
        InfeasibleMoveError: if no order keeps the rules, or none was found within `MAX_STATES`.
    """
    search = _Search(current, target, cluster, gpu_budget)
    path = search.path(frozenset(current.replicas))
    if path is None:
        raise InfeasibleMoveError(search.reason())
    actions: list[Action] = []
    for replica, starts in path:
        actions += [Start(replica=replica)] if starts else _stopped(replica)
    actions = _overlapped(actions, search.accepting(current.replicas))
    if tuple(current.thresholds) != tuple(target.thresholds):
        # Last: by then the capacity that they ask for is there.
        actions.append(SetThresholds(thresholds=tuple(target.thresholds)))
    return actions


def _stopped(replica: RunningReplica) -> list[Action]:
    return [Drain(replica=replica), Stop(replica=replica)]


def _overlapped(actions: Sequence[Action], accepting: set[RunningReplica]) -> list[Action]:
    """With every drain but the first before the stop that came before it, where that may be.

    Args:
        accepting: replicas that accept requests before the first action.
    """
    ordered: list[Action] = []
    early: set[RunningReplica] = set()
    for index, action in enumerate(actions):
        if isinstance(action, Stop):
            later = next((step for step in actions[index:] if isinstance(step, Drain)), None)
            if later is not None and _leaves_peer(later.replica, accepting):
                ordered.append(later)
                accepting.discard(later.replica)
                early.add(later.replica)
        elif isinstance(action, Drain):
            if action.replica in early:
                continue
            accepting.discard(action.replica)
        elif isinstance(action, Start):
            accepting.add(action.replica)
        ordered.append(action)
    return ordered


def _leaves_peer(replica: RunningReplica, accepting: set[RunningReplica]) -> bool:
    """Whether another replica of its pool accepts requests."""
    return any(peer.pool == replica.pool and peer != replica for peer in accepting)


class _Search:
    """Depth first over the sets of replicas that may run in between; starts are tried first."""

    def __init__(
        self,
        current: RunningPlan,
        target: RunningPlan,
        cluster: Cluster,
        gpu_budget: int | None,
    ) -> None:
        old, new = frozenset(current.replicas), frozenset(target.replicas)
        self._devices: dict[RunningReplica, frozenset[Device]] = {
            replica: frozenset(cluster.devices_of(replica)) for replica in old | new
        }
        self._starts = [replica for replica in target.replicas if replica not in old]
        # The youngest first: what ran longest has the fullest cache.
        self._stops = [replica for replica in reversed(current.replicas) if replica not in new]
        self._kept_pools = {replica.pool for replica in new}
        self._up = {replica for replica in old | new if cluster.is_up(replica)}
        everything = sum(node.devices for node in cluster.nodes)
        self._budget = everything if gpu_budget is None else gpu_budget
        self._seen: set[_Present] = set()

    def path(self, present: _Present) -> list[tuple[RunningReplica, bool]] | None:
        """Replicas to start (True) or stop from here on; None where there is no way."""
        steps: list[tuple[RunningReplica, bool]] = []
        stack = [self._ways(present)]
        sets = [present]
        while stack:
            if self._is_done(sets[-1]):
                return steps
            way = next(stack[-1], None)
            if way is None:
                stack.pop()
                sets.pop()
                if steps:
                    steps.pop()
                continue
            replica, starts = way
            after = sets[-1] | {replica} if starts else sets[-1] - {replica}
            if after in self._seen or len(self._seen) >= MAX_STATES:
                continue
            self._seen.add(after)
            steps.append(way)
            sets.append(after)
            stack.append(self._ways(after))
        return None

    def accepting(self, replicas: Iterable[RunningReplica]) -> set[RunningReplica]:
        """Those that accept requests where all of these run: what is on no lost node."""
        return self._up.intersection(replicas)

    def reason(self) -> str:
        """Why there is no way, in a line."""
        if len(self._seen) >= MAX_STATES:
            return f"no order of the moves was found among {MAX_STATES} tried"
        pools = sorted({replica.pool for replica in (*self._starts, *self._stops)})
        return (
            f"no order of starts and stops within {self._budget} devices leaves each of "
            f"{', '.join(pools)} a worker that accepts requests"
        )

    def _is_done(self, present: _Present) -> bool:
        return all(replica in present for replica in self._starts) and not any(
            replica in present for replica in self._stops
        )

    def _ways(self, present: _Present) -> Iterator[tuple[RunningReplica, bool]]:
        """The next steps that keep the rules, the best first."""
        used = frozenset().union(*(self._devices[replica] for replica in present))
        waiting = [replica for replica in self._starts if replica not in present]
        for replica in waiting:
            mine = self._devices[replica]
            if used.isdisjoint(mine) and len(used) + len(mine) <= self._budget:
                yield replica, True
        awaited = frozenset().union(*(self._devices[replica] for replica in waiting))
        may_stop = [
            replica
            for replica in self._stops
            if replica in present and self._may_go(replica, present)
        ]
        # Those whose devices are waited for first.
        for replica in sorted(
            may_stop, key=lambda replica: awaited.isdisjoint(self._devices[replica])
        ):
            yield replica, False

    def _may_go(self, replica: RunningReplica, present: _Present) -> bool:
        if replica.pool not in self._kept_pools or replica not in self._up:
            return True
        return _leaves_peer(replica, self.accepting(present))
