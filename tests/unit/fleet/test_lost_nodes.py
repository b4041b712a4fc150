"""A node is lost with all its workers: one fault, and none of their pools'."""

import asyncio
import random

import pytest

from cascadia_sglang.capacity.blocks import Blocks
from cascadia_sglang.capacity.types import Capacity, RunningReplica
from cascadia_sglang.errors import InfeasiblePlanError, PlanError, WorkerError
from cascadia_sglang.fleet import recovery
from cascadia_sglang.pool.pool import WorkerState
from cascadia_sglang.pool.worker_ends import WorkerEnd
from tests.unit.fleet.faked_nodes import Scene, on, ones

Patch = pytest.MonkeyPatch


async def test_the_replicas_of_a_lost_node_serve_elsewhere_and_nobody_is_blamed(
    monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    replicas = [*on("small", 0, 0), *on("small", 1, 0, 1, 2, 3, 4, 5), *on("large", 1, 6)]
    scene = Scene(monkeypatch, {"a": 8, "b": 7}, ones(small=7, large=1), replicas=replicas)
    async with scene:
        scene.lose_node("b")
        await scene.until_on({("small", "a"): 7, ("large", "a"): 1})
        assert scene.faults() == 0
        assert scene.pool.bypassed == set()
        assert scene.suspects == []
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert errors == ["node b was lost"]
        assert {lost.end for lost in scene.fleet.losses} == {WorkerEnd.LOST_NODE}
        # They stay where they are.
        scene.bring_back("b")
        await scene.looked()
        assert scene.nodes() == {("small", "a"): 7, ("large", "a"): 1}


async def test_what_finds_no_room_waits_for_the_node_and_the_only_one_of_a_pool_goes_first(
    monkeypatch: Patch,
) -> None:
    replicas = [*on("small", 0, 0), *on("small", 1, 0, 1), *on("large", 1, 2)]
    scene = Scene(monkeypatch, {"a": 2, "b": 3}, ones(small=3, large=1), replicas=replicas)
    async with scene:
        scene.lose_node("b")
        await scene.until_on({("small", "a"): 1, ("large", "a"): 1})
        assert scene.waiting() == {"small": 2}
        # They are still of the plan.
        assert scene.mover.running().counts == {"small": 3, "large": 1}
        await scene.looked()
        scene.bring_back("b")
        await scene.until_serving(small=3, large=1)
        assert scene.waiting() == {}
        assert scene.nodes()["small", "b"] == 2
        assert scene.faults() == 0


async def test_one_that_waits_takes_the_room_that_a_move_makes(monkeypatch: Patch) -> None:
    replicas = [*on("small", 0, 0, 1), *on("large", 1, 0)]
    scene = Scene(monkeypatch, {"a": 2, "b": 1}, ones(small=2, large=1), replicas=replicas)
    async with scene:
        scene.lose_node("b")
        await scene.until(lambda: scene.waiting() == {"large": 1})
        await scene.move(small=1)
        await scene.until_serving(small=1, large=1)
        assert scene.nodes() == {("small", "a"): 1, ("large", "a"): 1}


async def test_a_move_gives_up_one_that_waits(monkeypatch: Patch) -> None:
    replicas = [*on("small", 0, 0), *on("large", 0, 1), *on("small", 1, 0)]
    scene = Scene(monkeypatch, {"a": 2, "b": 1}, ones(small=2, large=1), replicas=replicas)
    async with scene:
        scene.lose_node("b")
        await scene.until(lambda: scene.waiting() == {"small": 1})
        await scene.move(small=1)
        assert scene.waiting() == {}
        scene.bring_back("b")
        await scene.looked()
        assert scene.serving() == {"small": 1, "large": 1}


async def test_a_worker_that_no_node_has_room_for_is_refused_in_one_line(
    monkeypatch: Patch,
) -> None:
    capacities = ones(small=1) | {"large": Capacity(replicas=1, tp_size=4)}
    async with Scene(monkeypatch, {"a": 2, "b": 4}, capacities) as scene:
        assert scene.nodes() == {("small", "a"): 1, ("large", "b"): 1}
        with pytest.raises(InfeasiblePlanError, match="9 devices are needed, there are 6"):
            await scene.move(large=2)
        with pytest.raises(InfeasiblePlanError) as refused:
            await scene.mover.move({"small": Capacity(replicas=1, tp_size=8)})
        assert str(refused.value) == "a worker of small needs 8 devices: a has 2, b has 4"
        scene.lose_node("b")
        await scene.until(lambda: scene.waiting() == {"large": 1})
        # It fits no node that is left, and is there again with its own.
        scene.bring_back("b")
        await scene.until_serving(small=1, large=1)


async def test_a_replica_over_two_nodes_is_lost_once_with_either(monkeypatch: Patch) -> None:
    capacities = ones(small=1) | {"large": Capacity(replicas=1, tp_size=2, pp_size=2)}
    async with Scene(monkeypatch, {"a": 1, "b": 2, "c": 2, "d": 2}, capacities) as scene:
        assert [n.name for n in scene.launcher.lies_on(scene.handle_of("large", "c"))] == ["b", "c"]
        scene.lose_node("c")
        await scene.until(lambda: scene.waiting() == {"large": 1})
        assert len(scene.fleet.losses) == 1
        scene.lose_node("b")
        await scene.looked()
        assert len(scene.fleet.losses) == 1
        scene.bring_back("c")
        await scene.until_serving(small=1, large=1)
        assert [n.name for n in scene.launcher.lies_on(scene.handle_of("large", "c"))] == ["c", "d"]


async def test_a_block_moves_to_another_node_whole(monkeypatch: Patch) -> None:
    blocks = Blocks(groups=(("large", "small"),))
    replicas = [*on("small", 1, 0), *on("large", 1, 0)]
    scene = Scene(
        monkeypatch, {"a": 1, "b": 1}, ones(small=1, large=1), replicas=replicas, blocks=blocks
    )
    async with scene:
        scene.lose_node("b")
        await scene.until_on({("small", "a"): 1, ("large", "a"): 1})


async def test_a_node_that_is_lost_while_a_worker_starts_there_undoes_the_move(
    monkeypatch: Patch,
) -> None:
    replicas = [*on("small", 0, 0), *on("large", 0, 1)]
    scene = Scene(monkeypatch, {"a": 2, "b": 1}, ones(small=1, large=1), replicas=replicas)
    async with scene:
        scene.launcher.holds_starts = True
        moving = asyncio.create_task(scene.move(large=2))
        await scene.until(lambda: scene.nodes(WorkerState.STARTING) == {("large", "b"): 1})
        scene.lose_node("b")
        with pytest.raises(WorkerError):
            await moving
        assert scene.mover.running().counts == {"small": 1, "large": 1}
        assert scene.waiting() == {}
        assert scene.faults() == 0
        scene.launcher.holds_starts = False
        with pytest.raises(InfeasiblePlanError, match="3 devices are needed, there are 2"):
            await scene.move(large=2)


async def test_a_recovery_on_a_node_that_is_lost_goes_on_elsewhere(monkeypatch: Patch) -> None:
    replicas = [*on("small", 0, 0), *on("large", 1, 0)]
    scene = Scene(monkeypatch, {"a": 1, "b": 2, "c": 1}, ones(small=1, large=1), replicas=replicas)
    async with scene:
        scene.launcher.holds_starts = True
        scene.handle_of("large", "b").die(WorkerEnd.OWN_ERROR)
        await scene.until(lambda: scene.nodes(WorkerState.STARTING) == {("large", "b"): 1})
        assert len(scene.suspects) == 1
        scene.launcher.holds_starts = False
        scene.lose_node("b")
        await scene.until_on({("small", "a"): 1, ("large", "c"): 1})
        # The first loss was that of a node that was about to end.
        assert scene.faults() == 0


async def test_a_recovery_that_waits_for_its_turn_goes_on_elsewhere_alone(
    monkeypatch: Patch,
) -> None:
    monkeypatch.setattr(recovery, "FIRST_DELAY_S", 0.3)
    replicas = [*on("small", 0, 0), *on("large", 1, 0)]
    scene = Scene(monkeypatch, {"a": 1, "b": 2, "c": 2}, ones(small=1, large=1), replicas=replicas)
    async with scene:
        scene.handle_of("large", "b").die(WorkerEnd.OUTSIDE)
        await scene.until(lambda: scene.serving() == {"small": 1})
        scene.lose_node("b")
        await scene.until_on({("small", "a"): 1, ("large", "c"): 1})
        scene.bring_back("b")
        await asyncio.sleep(0.5)
        assert scene.nodes() == {("small", "a"): 1, ("large", "c"): 1}
        assert scene.faults() == 0


async def test_whoever_notices_the_loss_first_blames_no_pool(monkeypatch: Patch) -> None:
    replicas = [*on("small", 1, 0), *on("large", 0, 0)]
    scene = Scene(monkeypatch, {"a": 2, "b": 1}, ones(small=1, large=1), replicas=replicas)
    async with scene:
        (worker,) = (w for w in scene.pool.ready() if w.handle.pool.name == "small")
        scene.lose_node("b")
        scene.fleet.lose(worker, "it did not answer")
        assert scene.faults() == 0
        await scene.until_on({("small", "a"): 1, ("large", "a"): 1})
        assert scene.suspects == []


@pytest.mark.parametrize("ends_first", [True, False], ids=["worker-first", "node-first"])
async def test_workers_that_end_shortly_before_their_node_are_no_faults_of_their_pool(
    ends_first: bool, monkeypatch: Patch
) -> None:
    replicas = [*on("small", 1, 0, 1, 2, 3, 4, 5), *on("small", 0, 0), *on("large", 0, 1)]
    scene = Scene(monkeypatch, {"a": 2, "b": 6}, ones(small=7, large=1), replicas=replicas)
    async with scene:
        scene.launcher.holds_starts = True
        if ends_first:
            for handle in scene.launcher.living():
                if handle.replica.node == 1:
                    handle.die(WorkerEnd.OUTSIDE)
            await scene.until(lambda: scene.pool.bypassed == {0})
        scene.lose_node("b")
        await scene.until(lambda: scene.waiting() == {"small": 6})
        assert scene.pool.bypassed == set()
        assert scene.faults() == 0
        assert scene.serving() == {"small": 1, "large": 1}


@pytest.mark.parametrize("starts", [True, False], ids=["move-ends", "move-undone"])
async def test_what_a_move_takes_away_is_placed_anew_only_if_the_move_is_undone(
    starts: bool, monkeypatch: Patch
) -> None:
    replicas = [*on("small", 0, 0), *on("small", 1, 0), *on("large", 0, 1)]
    scene = Scene(monkeypatch, {"a": 4, "b": 1}, ones(small=2, large=1), replicas=replicas)
    async with scene:
        scene.launcher.holds_starts = True
        moving = asyncio.create_task(scene.move(small=1, large=2))
        await scene.until(lambda: scene.nodes(WorkerState.STARTING) == {("large", "a"): 1})
        started = scene.launcher.handles[-1]
        scene.launcher.holds_starts = False
        scene.lose_node("b")
        await scene.looked()
        assert scene.waiting() == {"small": 1}
        if starts:
            started.become_ready()
            await moving
            await scene.looked()
            assert scene.nodes() == {("small", "a"): 1, ("large", "a"): 2}
        else:
            started.die(WorkerEnd.OWN_ERROR)
            with pytest.raises(WorkerError):
                await moving
            await scene.until_on({("small", "a"): 2, ("large", "a"): 1})
        assert scene.waiting() == {}


async def test_what_stays_in_a_move_serves_elsewhere_while_the_move_goes_on(
    monkeypatch: Patch,
) -> None:
    replicas = [*on("small", 0, 0), *on("middle", 1, 0), *on("large", 0, 1)]
    scene = Scene(
        monkeypatch, {"a": 4, "b": 1}, ones(small=1, middle=1, large=1), replicas=replicas
    )
    async with scene:
        scene.launcher.holds_starts = True
        moving = asyncio.create_task(scene.move(large=2))
        await scene.until(lambda: scene.nodes(WorkerState.STARTING) == {("large", "a"): 1})
        started = scene.launcher.handles[-1]
        scene.launcher.holds_starts = False
        scene.lose_node("b")
        await scene.until_on({("small", "a"): 1, ("middle", "a"): 1, ("large", "a"): 1})
        assert not moving.done()
        started.become_ready()
        await moving
        assert scene.serving() == {"small": 1, "middle": 1, "large": 2}
        assert scene.mover.running().counts == {"small": 1, "middle": 1, "large": 2}


async def test_a_move_that_fails_after_a_loss_is_undone_around_what_was_placed_anew(
    monkeypatch: Patch,
) -> None:
    replicas = [*on("small", 0, 0), *on("middle", 1, 0), *on("large", 0, 1)]
    scene = Scene(
        monkeypatch, {"a": 5, "b": 1}, ones(small=1, middle=1, large=1), replicas=replicas
    )
    async with scene:
        scene.launcher.holds_starts = True
        moving = asyncio.create_task(scene.move(large=3))
        await scene.until(lambda: scene.nodes(WorkerState.STARTING) == {("large", "a"): 1})
        first = scene.launcher.handles[-1]
        scene.launcher.holds_starts = False
        scene.lose_node("b")
        await scene.until_on({("small", "a"): 1, ("middle", "a"): 1, ("large", "a"): 1})
        scene.launcher.holds_starts = True
        first.become_ready()
        started = len(scene.launcher.handles)
        await scene.until(lambda: len(scene.launcher.handles) > started)
        scene.launcher.handles[-1].die(WorkerEnd.OWN_ERROR)
        with pytest.raises(WorkerError):
            await moving
        assert not first.is_alive()
        await scene.looked()
        assert scene.serving() == {"small": 1, "middle": 1, "large": 1}
        assert scene.mover.running().counts == {"small": 1, "middle": 1, "large": 1}
        assert scene.waiting() == {}


async def test_what_an_undone_move_has_stopped_on_a_lost_node_comes_back_with_it(
    monkeypatch: Patch,
) -> None:
    replicas = [*on("small", 0, 0), *on("small", 1, 0), *on("large", 0, 1)]
    scene = Scene(monkeypatch, {"a": 2, "b": 1}, ones(small=2, large=1), replicas=replicas)
    async with scene:
        scene.launcher.holds_starts = True
        moving = asyncio.create_task(scene.move(small=1, large=2))
        await scene.until(lambda: scene.nodes(WorkerState.STARTING) == {("large", "b"): 1})
        scene.launcher.holds_starts = False
        scene.lose_node("b")
        with pytest.raises(WorkerError):
            await moving
        await scene.looked()
        assert scene.waiting() == {"small": 1}
        scene.bring_back("b")
        await scene.until_on({("small", "a"): 1, ("small", "b"): 1, ("large", "a"): 1})


async def test_a_standby_elsewhere_serves_for_a_lost_worker(monkeypatch: Patch) -> None:
    replicas = [*on("small", 1, 0), *on("large", 0, 0)]
    scene = Scene(
        monkeypatch, {"a": 2, "b": 1}, ones(small=1, large=1), replicas=replicas, standby=1
    )
    async with scene:
        await scene.until(lambda: scene.nodes(WorkerState.STANDBY) == {("small", "a"): 1})
        started = len(scene.launcher.handles)
        scene.lose_node("b")
        await scene.until_on({("small", "a"): 1, ("large", "a"): 1})
        assert len(scene.launcher.handles) == started
        # The next standby waits for a device.
        scene.bring_back("b")
        await scene.until(lambda: scene.nodes(WorkerState.STANDBY) == {("small", "b"): 1})


@pytest.mark.parametrize("holds", [True, False], ids=["starting", "standing-by"])
async def test_a_standby_that_is_lost_with_its_node_is_followed_by_one_elsewhere(
    holds: bool, monkeypatch: Patch
) -> None:
    replicas = [*on("small", 0, 0), *on("large", 0, 1)]
    scene = Scene(
        monkeypatch, {"a": 2, "b": 1, "c": 1}, ones(small=1, large=1), replicas=replicas, standby=1
    )
    state = WorkerState.STARTING if holds else WorkerState.STANDBY
    async with scene:
        scene.launcher.holds_starts = holds
        await scene.until(lambda: scene.nodes(state) == {("small", "b"): 1})
        scene.launcher.holds_starts = False
        scene.lose_node("b")
        await scene.until(lambda: scene.nodes(WorkerState.STANDBY) == {("small", "c"): 1})
        assert scene.faults() == 0


async def test_on_hosts_a_standby_takes_any_place_of_its_own_node(monkeypatch: Patch) -> None:
    scene = Scene(monkeypatch, {"a": 8, "b": 8}, ones(small=1, large=1), gpu="cpu", standby=1)
    async with scene:
        await scene.until(lambda: scene.nodes(WorkerState.STANDBY) == {("small", "a"): 1})
        (standby,) = (worker for worker in scene.pool if worker.state is WorkerState.STANDBY)
        here, elsewhere = (
            RunningReplica(pool="small", gpu="cpu", node=node, base_gpu_id=5) for node in (0, 1)
        )
        assert not scene.fleet.standbys.has(elsewhere)
        assert scene.fleet.standbys.has(here)
        scene.handle_of("small", "a").die(WorkerEnd.OUTSIDE)
        await scene.until(lambda: standby.state is WorkerState.READY)


async def test_an_agent_that_ends_and_returns_between_two_looks_is_no_fault_either(
    monkeypatch: Patch,
) -> None:
    replicas = [*on("small", 1, 0, 1, 2, 3, 4, 5), *on("large", 0, 0)]
    scene = Scene(monkeypatch, {"a": 1, "b": 6}, ones(small=6, large=1), replicas=replicas)
    async with scene:
        scene.lose_node("b")
        scene.bring_back("b")
        await scene.until(lambda: len(scene.fleet.losses) == 6)
        await scene.until_serving(small=6, large=1)
        assert scene.faults() == 0
        assert scene.pool.bypassed == set()


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_nodes_come_and_go_the_plan_is_served_once_all_are_there(
    seed: int, monkeypatch: Patch
) -> None:
    chance = random.Random(seed)
    wanted = {"small": 3, "middle": 2, "large": 1}
    capacities = ones(small=3, middle=2) | {"large": Capacity(replicas=1, tp_size=2)}
    async with Scene(monkeypatch, {"a": 3, "b": 4, "c": 2}, capacities, standby=1) as scene:
        moves: list[tuple[dict[str, int], asyncio.Task[None]]] = []
        for _ in range(25):
            name = chance.choice(("b", "c"))
            step = chance.choice(("lose", "back", "move", "wait", "wait"))
            if step == "lose":
                scene.lose_node(name)
            elif step == "back":
                scene.bring_back(name)
            elif step == "move":
                counts = {"small": chance.randint(1, 3), "middle": chance.randint(1, 2)}
                moves.append((counts, asyncio.create_task(scene.move(**counts))))
            else:
                await asyncio.sleep(chance.choice((0.0, 0.003, 0.03)))
        for counts, moving in moves:
            try:
                await moving
            except (PlanError, WorkerError):
                continue
            wanted |= counts
        for name in ("b", "c"):
            scene.bring_back(name)
        await scene.until_serving(**wanted)
        assert scene.mover.running().counts == wanted
        assert scene.waiting() == {}
        assert scene.faults() == 0
        assert scene.pool.bypassed == set()
