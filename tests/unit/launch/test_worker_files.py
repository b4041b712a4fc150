"""Nothing that a worker needed lies on the disk or in shared memory after its end."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cascadia_sglang.launch import worker_files
from cascadia_sglang.launch.worker_files import WorkerFiles

SOCKETS = ("tokenizer", "scheduler_input", "detokenizer", "rpc", "metrics")


@pytest.fixture(autouse=True)
def _shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_files, "shm_path_for", lambda name: str(tmp_path / f"loads-{name}"))


def ports_of(folder: Path, worker_id: str) -> Any:
    """Sockets as SGLang names them, by empty files; and the loads of a worker that runs."""
    names = {name: folder / f"{worker_id}-{name}-placeholder" for name in SOCKETS}
    for path in (*names.values(), folder / f"loads-{worker_id}"):
        path.touch()
    addresses = {f"{name}_ipc_name": f"ipc://{path}" for name, path in names.items()}
    return SimpleNamespace(instance_id=worker_id, **addresses)


def bind(ports: Any, *addresses: str) -> list[Path]:
    """What a worker does: make every socket."""
    names = [getattr(ports, f"{name}_ipc_name") for name in SOCKETS]
    paths = [Path(address.removeprefix("ipc://")) for address in (*names, *addresses)]
    for path in paths:
        path.touch()
    return paths


def test_a_worker_leaves_nothing_and_its_neighbour_keeps_all(tmp_path: Path) -> None:
    files = WorkerFiles()
    events = files.address("small-1-events")
    first, second = ports_of(tmp_path, "small-1"), ports_of(tmp_path, "small-1-3")
    files.take("small-1", first, events)
    files.take("small-1-3", second)
    assert list(tmp_path.glob("*placeholder")) == []
    gone, kept = bind(first, events), bind(second)
    files.remove(first.scheduler_input_ipc_name)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    assert [path.name for path in tmp_path.iterdir()] == ["loads-small-1-3"]
    files.remove(first.scheduler_input_ipc_name)
    files.remove_all()
    assert not any(path.exists() for path in kept)
    assert list(tmp_path.iterdir()) == []


def test_the_servers_own_sockets_go_at_the_end(tmp_path: Path) -> None:
    files, server = WorkerFiles(), ports_of(tmp_path, "server")
    (tmp_path / "loads-server").unlink()
    files.remove_at_the_end(server)
    assert len(list(tmp_path.iterdir())) == len(SOCKETS)
    files.remove_all()
    assert list(tmp_path.iterdir()) == []


def test_what_is_gone_already_is_no_error(tmp_path: Path) -> None:
    files, ports = WorkerFiles(), ports_of(tmp_path, "small-1")
    files.take("small-1", ports)
    (tmp_path / "loads-small-1").unlink()
    files.remove(ports.scheduler_input_ipc_name)
    assert list(tmp_path.iterdir()) == []
