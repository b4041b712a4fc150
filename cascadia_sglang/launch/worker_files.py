"""The files of the running workers: their sockets, and the loads that they publish.

SGLang makes an empty file in the temporary folder for the name of each socket, and removes neither
these nor the loads in shared memory. A server that starts many workers would leave thousands.
"""

import atexit
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sglang.srt.managers.load_snapshot import shm_path_for

if TYPE_CHECKING:
    from sglang.srt.server_args import PortArgs

_SCHEME = "ipc://"
_SOCKETS = ("tokenizer", "scheduler_input", "detokenizer", "rpc", "metrics")


class WorkerFiles:
    """Owns a folder of sockets; removes what is left of a worker, and everything at the end."""

    def __init__(self) -> None:
        # Readable by this user alone: prompts pass through.
        self._folder = tempfile.TemporaryDirectory(prefix="cascadia-sockets-")
        self._files: dict[str, list[Path]] = {}  # by the address of a worker's input
        atexit.register(self.remove_all)

    def address(self, name: str) -> str:
        """The address of a socket in the folder."""
        return f"{_SCHEME}{self._folder.name}/{name}"

    def remove_at_the_end(self, ports: "PortArgs") -> None:
        """Remove the server's own sockets with everything else, those that are files."""
        addresses = (getattr(ports, f"{name}_ipc_name") for name in _SOCKETS)
        files = [_path(address) for address in addresses if address.startswith(_SCHEME)]
        self._files[ports.scheduler_input_ipc_name] = files

    def take(self, worker_id: str, ports: "PortArgs", *addresses: str) -> None:
        """Have a worker's sockets in the folder, in place of where SGLang wants them.

        Args:
            ports: of the worker, as SGLang made them; changed.
            addresses: of further sockets of the worker.
        """
        sockets = [self.address(f"{worker_id}-{name}") for name in _SOCKETS]
        for name, address in zip(_SOCKETS, sockets, strict=True):
            _path(getattr(ports, f"{name}_ipc_name")).unlink(missing_ok=True)
            setattr(ports, f"{name}_ipc_name", address)
        loads = Path(shm_path_for(ports.instance_id))
        self._files[ports.scheduler_input_ipc_name] = [loads, *map(_path, (*sockets, *addresses))]

    def remove(self, input_address: str) -> None:
        """Remove what is left of the worker with this input, once it has ended."""
        for path in self._files.pop(input_address, ()):
            path.unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Remove what is left of every worker, and the folder."""
        for address in list(self._files):
            self.remove(address)
        self._folder.cleanup()


def _path(address: str) -> Path:
    return Path(address.removeprefix(_SCHEME))
