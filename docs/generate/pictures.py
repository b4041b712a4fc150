"""Takes the pictures of the page, `docs/pictures/`, from the demo under load.

It needs Chromium, and the packages of the development environment.

Example:
    python -m docs.generate.pictures
"""

import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.harness.client import send_all
from bench.harness.load import questions, requests
from bench.harness.server import running_server
from tests.unit.page.chromium import Tab, opened

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
PORT = 31000
SERVER = ("--plugin", "cascadia", "--cascade-config", "demo/cascade.yaml")
CLIENTS = 6
STREAM_INTERVAL = 4
# Time under load before the first picture; the rates on the page are those of the last minute.
LOAD_S = 90.0
# Charts follow the window's width and the colours with the next row.
REDRAW_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A part of the page.

    Attributes:
        scheme: `light` or `dark`.
        width, height: of the window, in pixels.
        top: selector of the element at the top.
    """

    name: str
    scheme: str
    width: int
    height: int
    top: str


PICTURES = (
    Picture(name="page-light", scheme="light", width=1180, height=1560, top="body"),
    Picture(name="page-dark", scheme="dark", width=1180, height=1560, top="#latency"),
    Picture(name="page-narrow", scheme="light", width=420, height=1100, top="body"),
)


@contextlib.contextmanager
def load(port: int) -> Iterator[None]:
    """Clients that ask new questions of the demo, one after the other, meanwhile."""
    ended = threading.Event()

    def run() -> None:
        for seed in itertools.count(1):
            if ended.is_set():
                return
            batch = requests(questions(seed, 20 * CLIENTS), stream_interval=STREAM_INTERVAL)
            send_all(port, batch, CLIENTS)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def take(tab: Tab, picture: Picture, folder: Path) -> None:
    """Write a picture of the open page into a folder."""
    tab.prefer(picture.scheme)
    tab.resize(picture.width, picture.height)
    time.sleep(REDRAW_S)
    tab.run(f"document.querySelector('{picture.top}').scrollIntoView({{behavior: 'instant'}})")
    tab.shoot(folder / f"{picture.name}.png")


def main() -> None:
    """Start the demo, and take every picture."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(SERVER, port=PORT, log=Path(folder) / "server.log") as port,
        load(port),
        opened("--hide-scrollbars") as tab,
    ):
        tab.open(f"http://127.0.0.1:{port}/cascadia")
        time.sleep(LOAD_S)
        for picture in PICTURES:
            take(tab, picture, FOLDER)


if __name__ == "__main__":
    main()
