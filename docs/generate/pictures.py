"""Takes the pictures of the page, `docs/pictures/`, from a server under load.

It needs Chromium, and the packages of the development environment.

Example:
    python -m docs.generate.pictures http://127.0.0.1:30000
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from tests.unit.page.chromium import opened

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
# The page shows a chart of the last minute.
HISTORY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A part of the page.

    Attributes:
        scheme: `light` or `dark`.
        width, height: of the window, in pixels.
        panel: id of the panel at the top; empty for the page's begin.
    """

    name: str
    scheme: str
    width: int
    height: int
    panel: str


PICTURES = (
    Picture(name="page-light", scheme="light", width=1180, height=1560, panel=""),
    Picture(name="page-dark", scheme="dark", width=1180, height=1560, panel="latency"),
    Picture(name="page-narrow", scheme="light", width=420, height=900, panel=""),
)


def take(url: str, folder: Path, history_s: float = HISTORY_S) -> None:
    """Write every picture into a folder.

    Args:
        url: of the server, without a path.
        history_s: time that the server is watched before.
    """
    with opened("--hide-scrollbars") as tab:
        tab.open(f"{url}/cascadia")
        time.sleep(history_s)
        for picture in PICTURES:
            tab.prefer(picture.scheme)
            tab.resize(picture.width, picture.height)
            top = (
                f"document.getElementById('{picture.panel}')" if picture.panel else "document.body"
            )
            tab.run(f"{top}.scrollIntoView({{behavior: 'instant'}})")
            time.sleep(2.0)  # charts follow the width and the colours with the next row
            tab.shoot(folder / f"{picture.name}.png")


def main() -> None:
    """Take the pictures into `docs/pictures`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="of the server, as http://127.0.0.1:30000")
    take(parser.parse_args().url.rstrip("/"), FOLDER)


if __name__ == "__main__":
    main()
