"""Ray's driver: a process between a server and the agents on the nodes.

python -m cascadia_sglang.cluster.ray_driver DESCRIPTOR

It chooses the machines, starts an agent on each, and passes messages on. Agents are detached
actors, so that they outlive it. When the server's end of the pipe closes it ends them, and itself.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
import threading
import time
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cascadia_sglang.cluster.actor import AgentActor
from cascadia_sglang.cluster.wire import (
    AgentAnswer,
    Call,
    Connected,
    DriverOrder,
    Keep,
    Sign,
    Trouble,
    Wanted,
)
from cascadia_sglang.config.cluster_settings import THIS_HOSTS_CLUSTER

# Of Ray's actors, by which the next driver finds them.
_NAMESPACE = "cascadia"
# How long Ray's head may take to answer, and the machines to be there.
_PROBE_S = 3.0
_CONNECT_S = 20.0
_NODES_S = 4.0
_AGAIN_S = 1.0
# A look returns at the latest after this part of the heartbeat.
_LOOK_PART = 4
_CALLS_AT_ONCE = 64
# Ray's own threads may hang when its head is gone.
_END_S = 3.0

# What Ray raises where its head is gone, a name is not free again, or a method failed.
_RAY_ERRORS = (RayError, ConnectionError, RuntimeError, ValueError)


class NoClusterError(Exception):
    """Why there is no cluster; one line."""


class RayDriver:
    """Keeps an agent on every node, and passes messages on."""

    def __init__(self, order: DriverOrder, pipe: Connection) -> None:
        self._order = order
        self._pipe = pipe
        self._sending = threading.Lock()
        self._choosing = threading.Lock()
        self._agents: dict[int, Any] = {}
        self._machines: dict[int, str] = {}  # Ray's node ids
        self._wanted: dict[int, Wanted] = {}
        self._here = ray.get_runtime_context().get_node_id()

    def run(self) -> None:
        """Pass messages on until the server ends, or says so."""
        for number in range(1, self._order.nodes + 1):
            self._find(number)
        if self._order.is_first:
            self._await_machines()
        self.send(Connected(address=str(ray.util.get_node_ip_address())))
        for number in range(1, self._order.nodes + 1):
            threading.Thread(target=self._keep_agent, args=(number,), daemon=True).start()
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                return
            if message is None:
                return
            self._take(message)

    def end_agents(self) -> None:
        """End every agent, and with it all that it runs."""
        for agent in list(self._agents.values()):
            ray.kill(agent)

    def send(self, message: Connected | Trouble | Sign | AgentAnswer) -> None:
        # Whoever receives sees the end of a server, and ends this process.
        with self._sending, contextlib.suppress(OSError):
            self._pipe.send(message)

    def _take(self, message: Call | Keep) -> None:
        agent = self._agents.get(message.number)
        if isinstance(message, Keep):
            self._wanted[message.number] = message.wanted
            if agent is not None:
                agent.keep.remote(message.wanted)
        elif agent is None:
            self.send(AgentAnswer(call_id=message.call_id, error="its node is away"))
        else:
            future = agent.call.remote(message.method, message.argument).future()
            future.add_done_callback(functools.partial(self._answer, message.call_id))

    def _answer(self, call_id: int, done: Future[tuple[bytes, str | None]]) -> None:
        error = done.exception()
        if error is not None:
            why = "its node was lost: " if isinstance(error, RayActorError) else ""
            self.send(AgentAnswer(call_id=call_id, error=f"{why}{last_line(error)}"))
            return
        value, problem = done.result()
        self.send(AgentAnswer(call_id=call_id, value=value, error=problem))

    def _await_machines(self) -> None:
        """Raises NoClusterError if there are too few machines for the agents."""
        deadline = time.monotonic() + _NODES_S
        while len(self._machines) + len(self._free_machines()) < self._order.nodes:
            if time.monotonic() > deadline:
                count = len(self._free_machines())
                gpus = self._gpus()
                having = f" with {gpus} free GPUs or more" if gpus else ""
                raise NoClusterError(
                    f"the Ray cluster at {self._order.address} has {count} machines{having} "
                    f"besides this host, cluster.nodes is {self._order.nodes}"
                )
            time.sleep(_AGAIN_S / 4)

    def _keep_agent(self, number: int) -> None:
        """Have an agent on a node, for the life of the driver."""
        while True:
            try:
                agent = self._agents.get(number) or self._start(number)
                if agent is not None:
                    self._follow(number, agent)
            except _RAY_ERRORS as error:
                self.send(Trouble(text=f"no agent on node {number}: {last_line(error)}"))
            else:
                self._agents.pop(number, None)
                with self._choosing:
                    self._machines.pop(number, None)
            time.sleep(_AGAIN_S)

    def _follow(self, number: int, agent: Any) -> None:
        """Look at an agent until it has ended."""
        seen: dict[str, str] = {}
        wait_s, has_answered = self._order.heartbeat_s / _LOOK_PART, False
        while True:
            looking = agent.check.remote(self._wanted.get(number), seen, wait_s)
            try:
                sign, machine = ray.get(looking, timeout=self._order.heartbeat_s)
            except (GetTimeoutError, ActorUnavailableError):
                # The server counts the time without a sign.
                time.sleep(wait_s)
            except RayActorError as error:
                self.send(Sign(number=number, agent=None))
                if not has_answered:
                    self.send(Trouble(text=f"no agent on node {number}: {last_line(error)}"))
                return
            else:
                self._machines[number] = machine
                seen, has_answered = sign.ended, True
                self.send(sign)

    def _find(self, number: int) -> None:
        """Take over the agent that an earlier driver has left on a node."""
        try:
            self._agents[number] = ray.get_actor(self._name(number), namespace=_NAMESPACE)
        except ValueError:
            return
        looking = self._agents[number].check.remote(None, {}, 0.0)
        try:
            _, self._machines[number] = ray.get(looking, timeout=self._order.heartbeat_s)
        except (GetTimeoutError, RayActorError):
            # It is looked at again.
            return

    def _start(self, number: int) -> Any:
        """Start an agent on a machine that has none; None where there is no such machine."""
        with self._choosing:
            machine = next(iter(self._free_machines()), None)
            if machine is None:
                return None
            self._machines[number] = machine
        try:
            agent = self._made(number, machine)
        except _RAY_ERRORS:
            del self._machines[number]
            raise
        self._agents[number] = agent
        return agent

    def _made(self, number: int, machine: str) -> Any:
        return (
            ray.remote(AgentActor)
            .options(
                name=self._name(number),
                namespace=_NAMESPACE,
                lifetime="detached",
                num_cpus=0,
                num_gpus=self._gpus(),
                max_concurrency=_CALLS_AT_ONCE,
                max_restarts=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(machine, soft=False),
            )
            .remote(self._order.agent, number, machine)
        )

    def _free_machines(self) -> list[str]:
        """Ray's ids of the machines that could have an agent, and have none of this server's."""
        gpus, used = self._gpus(), {*self._machines.values(), self._here}
        return [
            node["NodeID"]
            for node in ray.nodes()
            if node["Alive"]
            and node["NodeID"] not in used
            and node["Resources"].get("GPU", 0) >= gpus
        ]

    def _gpus(self) -> int:
        """Accelerators that an agent takes: none in a cluster without any."""
        has_gpus = any(node["Alive"] and node["Resources"].get("GPU") for node in ray.nodes())
        return self._order.gpus_per_node if has_gpus else 0

    def _name(self, number: int) -> str:
        return f"{self._order.server_id}-{number}"


def connect(address: str) -> None:
    """Join the Ray cluster.

    Raises:
        NoClusterError: if it does not answer, or this host does not belong to it.
    """
    if address != THIS_HOSTS_CLUSTER:
        host, _, port = address.rpartition(":")
        try:
            # Ray itself would try for minutes without a word.
            socket.create_connection((host.strip("[]"), int(port)), _PROBE_S).close()
        except OSError as error:
            raise NoClusterError(
                f"cluster.ray: no Ray head answers at {address}: {error}"
            ) from error
    try:
        ray.init(
            address=address,
            namespace=_NAMESPACE,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except _RAY_ERRORS as error:
        raise NoClusterError(f"cluster.ray {address}: {last_line(error)}") from error


def last_line(error: BaseException) -> str:
    """The last line of an error: what Ray passes on of another process ends with its cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def main() -> None:
    pipe = Connection(int(sys.argv[1]))
    order: DriverOrder = pipe.recv()

    def give_up() -> None:
        text = f"cluster.ray {order.address}: Ray did not answer in {_CONNECT_S:g} s"
        pipe.send(Trouble(text=text))
        os._exit(2)

    late = threading.Timer(_CONNECT_S, give_up)
    late.daemon = True
    late.start()
    try:
        connect(order.address)
        late.cancel()
        driver = RayDriver(order, pipe)
        driver.run()
    except NoClusterError as error:
        pipe.send(Trouble(text=str(error)))
        sys.exit(2)
    hung = threading.Timer(_END_S, os._exit, (1,))
    hung.daemon = True
    hung.start()
    driver.end_agents()
    # Ray's own farewell would wait for a head that may be gone.
    os._exit(0)


if __name__ == "__main__":
    main()
