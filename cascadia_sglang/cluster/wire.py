"""What a server, Ray's driver and the agents say to each other.

The driver passes on what it does not read as bytes, so it imports neither SGLang nor PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascadia_sglang.capacity.types import RunningReplica
    from cascadia_sglang.messages import DeviceShare
    from cascadia_sglang.pool.worker_handle import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The workers that an agent is to have. A later list has a higher version.

    A worker that was asked for after a list was made is not ended because of that list.
    """

    version: int
    worker_ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOrder:
    """What an agent is told when its process begins.

    Attributes:
        versions: of the server's packages; the node must have the same.
        environment: of the server, as far as SGLang and its libraries read it.
        workers: that share the node's cores, where it has no accelerators.
        lease_s: without a word of the server for so long, the agent ends all workers and itself.
    """

    versions: dict[str, str]
    environment: dict[str, str]
    workers: int
    lease_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOrder:
    """What Ray's driver is told.

    Attributes:
        address: of Ray: `auto`, or HOST:PORT.
        server_id: part of the agents' names, so that the next driver finds them.
        nodes: how many machines are wanted besides this host.
        gpus_per_node: accelerators of each, where the cluster has any.
        heartbeat_s: how long one look at a node may take.
        agent: for each agent.
        is_first: whether too few machines are an error. Later ones wait for them.
    """

    address: str
    server_id: str
    nodes: int
    gpus_per_node: int
    heartbeat_s: float
    agent: AgentOrder
    is_first: bool


# From the driver to the server.


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """Ray answers; `address` is the one that it knows this host by."""

    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why there is no cluster, or no agent on a node; one line."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A sign of an agent's life.

    Attributes:
        number: of the node.
        agent: made up by the agent's process; None where that has ended.
        host: its name.
        ended: of the workers that have ended and are still wanted: whose doing it was.
    """

    number: int
    agent: str | None
    host: str = ""
    ended: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAnswer:
    """To a call: what the method returned, pickled; or one line where it failed."""

    call_id: int
    value: bytes = b""
    error: str | None = None


# From the server to the driver, and through it to an agent. None ends the driver.


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A method of an agent to call, with one pickled argument."""

    call_id: int
    number: int
    method: str
    argument: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """The workers that the agent of a node is to have from now on."""

    number: int
    wanted: Wanted


# Arguments and values of an agent's methods.


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOrder:
    """All that a node needs to know to start a server's workers.

    Attributes:
        config: the `CascadeConfig`; its models have absolute paths, its files the names in `files`.
        namespace: SGLang's flags, as the server's command line has them.
        files: what the small files hold that workers read, by name.
        probed: tier indices whose hidden states the judge reads.
        tokenizer: address to which workers report to the tokenizer manager.
        detokenizers: address of each tier's detokenizer.
        devices: accelerators that the node is to have; without any, workers that it may hold.
        is_debug: whether the workers' lines go to the node's console.
        number: of the node.
    """

    config: Any
    namespace: Any
    files: dict[str, bytes]
    probed: frozenset[int]
    tokenizer: str
    detokenizers: tuple[str, ...]
    devices: int
    is_debug: bool
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a node has: the type of its devices, how many, GiB of the largest where known."""

    gpu: str
    devices: int
    memory_gib: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOrder:
    """A worker to start.

    Attributes:
        pool: its name.
        number: of the worker in the server.
        version: of the first list of wanted workers that has it.
        input_address: where the server sends its requests.
        load_address: where the server takes what it publishes of its load.
    """

    pool: str
    worker_id: str
    number: int
    replica: RunningReplica
    version: int
    input_address: str
    load_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyWorker:
    """What is known of a worker that is ready; the fields are those of `WorkerHandle`."""

    limits: Limits
    phases: dict[str, float]
    page_tokens: int
    capacity_tokens: int
    devices: tuple[int, ...]
    device_share: DeviceShare | None
    scheduler_infos: list[dict[str, Any]]
