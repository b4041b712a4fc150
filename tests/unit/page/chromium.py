"""A headless Chromium, driven through its DevTools port."""

import asyncio
import base64
import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

START_S = 30.0
CALL_S = 20.0

BINARY = shutil.which("chromium") or shutil.which("chromium-browser")


class BrowserError(Exception):
    """The browser did not start, or a script in it failed."""


class Tab:
    """One page of the browser. Calls block; `console` has what the page wrote meanwhile."""

    def __init__(self, runner: asyncio.Runner, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.console: list[str] = []
        self._runner = runner
        self._socket = socket
        self._number = 0
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command; its result."""
        return self._runner.run(self._call(method, params))

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        async with asyncio.timeout(CALL_S):
            while True:
                message = await self._socket.receive_json()
                if message.get("id") == self._number:
                    if "error" in message:
                        raise BrowserError(f"{method}: {message['error']}")
                    return dict(message["result"])
                self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled":
            words = [str(word.get("value", word.get("description"))) for word in params["args"]]
            self.console.append(f"{params['type']}: {' '.join(words)}")
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(f"exception: {details.get('exception', details)}")
        elif method == "Log.entryAdded":
            entry = params["entry"]
            self.console.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")

    def open(self, url: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of a script, awaited where it is a promise."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            raise BrowserError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, script: str, within_s: float = 10.0) -> Any:
        """The first value of a script that counts as true.

        A script may fail meanwhile, as it does while a page is about to be there.
        """
        deadline, last = time.monotonic() + within_s, ""
        while time.monotonic() < deadline:
            try:
                value = self.run(script)
            except BrowserError as error:
                value, last = None, str(error)
            if value:
                return value
            time.sleep(0.05)
        raise BrowserError(f"not within {within_s} s: {script} {last}; console: {self.console}")

    def resize(self, width: int, height: int) -> None:
        """Give the page another size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str) -> None:
        """Have the system prefer `dark` or `light`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def shoot(self, path: Path) -> None:
        """Write what the window shows as a PNG."""
        result = self.call("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(result["data"]))


@contextlib.contextmanager
def opened(*flags: str) -> Iterator[Tab]:
    """A browser with one page, ended at the end."""
    assert BINARY is not None
    # Its helper processes outlive it by a moment, and may write while the folder is removed.
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with folder as profile, asyncio.Runner() as runner:
        process = subprocess.Popen(
            [
                BINARY,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "--window-size=1280,900",
                *flags,
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        session: aiohttp.ClientSession | None = None
        try:
            port = _port(Path(profile) / "DevToolsActivePort", process)
            session, socket = runner.run(_connect(port))
            yield Tab(runner, socket)
        finally:
            if session is not None:
                runner.run(session.close())
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _port(path: Path, process: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BrowserError(f"Chromium ended with {process.returncode}")
        if path.exists() and (match := re.match(r"(\d+)\n", path.read_text())):
            return int(match[1])
        time.sleep(0.05)
    raise BrowserError(f"Chromium opened no port within {START_S} s")


async def _connect(port: int) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
    session = aiohttp.ClientSession()
    async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
        targets = json.loads(await response.text())
    page = next(target for target in targets if target["type"] == "page")
    socket = await session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
    return session, socket
