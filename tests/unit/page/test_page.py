"""The page in headless Chromium, against a faked server under load."""

import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cascadia_sglang.http.page import page_routes
from cascadia_sglang.page.files import INDEX, MOST_BYTES, page_files
from cascadia_sglang.page.what_if import WhatIf, what_if
from cascadia_sglang.planner.online.weighted_sample import EntryWindow
from cascadia_sglang.planner.thresholds.sample import load_plan_sample
from tests.unit.page.chromium import BINARY, Tab, opened
from tests.unit.page.faked_server import ADMIN_KEY, INTERVAL_S, FakedServer, served
from tests.unit.planner.online.test_weighted_sample import make_sample

needs_browser = pytest.mark.skipif(
    BINARY is None, reason="chromium is not installed (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakedServer]:
    path: Path = tmp_path_factory.mktemp("sample") / "sample.json"
    path.write_bytes(msgspec.json.encode(make_sample(count=800)))
    with served(path) as running:
        yield running


@pytest.fixture(scope="module")
def tab(server: FakedServer) -> Iterator[Tab]:
    with opened() as opened_tab:
        opened_tab.open(f"{server.url}/cascadia")
        opened_tab.wait("Number(document.documentElement.dataset.row) > 2", within_s=20)
        yield opened_tab


def test_the_files_are_small_and_ask_nobody_else() -> None:
    files = page_files()
    assert sum(len(file.content) for file in files.values()) <= MOST_BYTES
    assert INDEX in files
    assert "vendor/uPlot-LICENSE.txt" in files
    for name, file in files.items():
        text = file.content.decode()
        if not name.startswith("vendor/") and name != "icon.svg":
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), name
            assert "https://" not in text, name


def test_a_file_is_sent_once_and_then_only_asked_about(server: FakedServer) -> None:
    first = httpx.get(f"{server.url}/cascadia/page/app.js")
    assert first.status_code == 200
    assert first.headers["content-type"].startswith("text/javascript")
    assert "default-src 'none'" in first.headers["content-security-policy"]
    headers = {"if-none-match": first.headers["etag"]}
    again = httpx.get(f"{server.url}/cascadia/page/app.js", headers=headers)
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["no.js", "files.py", "vendor/%2e%2e/%2e%2e/files.py", "vendor"])
def test_no_other_file_is_sent(server: FakedServer, name: str) -> None:
    response = httpx.get(f"{server.url}/cascadia/page/{name}")
    assert response.status_code == 404


def test_every_row_is_read_once(server: FakedServer) -> None:
    first = httpx.get(f"{server.url}/cascadia/live").json()
    time.sleep(3 * INTERVAL_S)
    last = first["last"]
    query = {"since": last["row"], "requests": last["request"], "events": last["event"]}
    later = httpx.get(f"{server.url}/cascadia/live", params=query).json()
    numbers = [row["number"] for row in later["rows"]]
    assert numbers == list(range(last["row"] + 1, later["last"]["row"] + 1))
    assert all(request["number"] > last["request"] for request in later["requests"])


@pytest.mark.parametrize("key", ["since", "requests", "events"])
@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "9" * 19, "\u0661"])
def test_a_number_that_is_none_is_refused(server: FakedServer, key: str, text: str) -> None:
    response = httpx.get(f"{server.url}/cascadia/live", params={key: text})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == key


@pytest.mark.parametrize("text", ["", "1.5", "0.5,0.5", "high", "nan"])
def test_thresholds_that_do_not_fit_are_refused(server: FakedServer, text: str) -> None:
    response = httpx.get(f"{server.url}/cascadia/what-if", params={"thresholds": text})
    assert response.status_code == 400
    assert response.json()["error"]["message"].endswith("allowed: 1 numbers from 0 to 1")


def test_replays_take_turns(server: FakedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share the process's threads with the server's other work."""
    running, most = itertools.count(), 0
    active: set[int] = set()

    def slow(*arguments: Any) -> WhatIf:
        nonlocal most
        number = next(running)
        active.add(number)
        most = max(most, len(active))
        time.sleep(0.05)
        active.discard(number)
        return what_if(*arguments)

    monkeypatch.setattr(page_routes, "what_if", slow)
    url = f"{server.url}/cascadia/what-if?thresholds=0.5"
    with ThreadPoolExecutor(6) as pool:
        statuses = [response.status_code for response in pool.map(httpx.get, [url] * 6)]
    assert statuses == [200] * 6
    assert most == 1


def test_without_a_sample_it_says_what_is_missing() -> None:
    with served(None) as bare:
        response = httpx.get(f"{bare.url}/cascadia/what-if", params={"thresholds": "0.5"})
        assert response.status_code == 409
        assert "planner.sample" in response.json()["error"]["message"]


@needs_browser
def test_counters_on_the_page_are_those_of_the_status_within_a_tick(
    server: FakedServer, tab: Tab
) -> None:
    for name in ("small", "large"):
        script = f"Number(document.querySelector('[data-field=\"answered {name}\"]').textContent)"
        before = httpx.get(f"{server.url}/cascadia/status").json()
        tab.wait(f"Number(document.documentElement.dataset.row) > {server.sampler.rows.number}")
        shown = tab.run(script)
        after = httpx.get(f"{server.url}/cascadia/status").json()
        counts = [
            next(tier["answered"] for tier in status["tiers"] if tier["name"] == name)
            for status in (before, after)
        ]
        assert counts[0] <= shown <= counts[1]


@needs_browser
def test_every_panel_has_data(tab: Tab) -> None:
    tab.wait("document.querySelectorAll('#latency-table tbody tr').length >= 3")
    assert tab.run("document.querySelectorAll('#flow-lanes path').length") >= 4
    assert tab.run("document.querySelectorAll('#flow-climbs tbody tr').length") == 1
    assert tab.run("document.querySelectorAll('#capacity-workers article').length") == 3
    assert tab.run("document.querySelectorAll('#caches-table tbody tr').length") == 2
    assert tab.run("document.querySelectorAll('#requests-table tbody tr').length") > 10
    assert "below_threshold" in tab.run("document.getElementById('flow-climbs').textContent")
    assert tab.run("document.querySelectorAll('canvas').length") == 5
    assert "25 %" in tab.run("document.getElementById('caches-table').textContent")


@needs_browser
def test_the_histogram_is_that_of_the_scores_and_of_the_calibration(
    server: FakedServer, tab: Tab
) -> None:
    shape = httpx.get(f"{server.url}/cascadia/recent").json()["judge"][0]
    bins = {bin_ for bin_, count in enumerate(shape["counts"]) if count}
    assert bins == {6, 18}
    assert shape["expected"] == pytest.approx([0.05] * 20, abs=1e-6)
    counts = tab.run("document.querySelector('#judge-tiers svg').dataset.counts").split(",")
    assert {bin_ for bin_, count in enumerate(counts) if int(count)} == bins


@needs_browser
def test_a_request_opens_as_a_waterfall(tab: Tab) -> None:
    tab.run("document.querySelector('#requests-path').value = 'small>large'")
    tab.wait(
        "[...document.querySelectorAll('#requests-table tbody tr td:nth-child(3)')]"
        ".every((cell) => cell.textContent === 'small>large')"
    )
    tab.run("document.querySelector('#requests-table button').click()")
    assert tab.run("document.querySelectorAll('#requests-open rect').length") == 2
    widths = tab.run(
        "[...document.querySelectorAll('#requests-open rect')].map((one) => "
        "[Number(one.getAttribute('x')), Number(one.getAttribute('width'))])"
    )
    (first_x, first_width), (second_x, _) = widths
    assert second_x >= first_x + first_width - 1
    spoken = tab.run("document.querySelector('#requests-open svg').getAttribute('aria-label')")
    assert "small: below_threshold" in spoken
    assert "large: last_tier" in spoken
    tab.run("document.querySelector('#requests-path').value = ''")


@needs_browser
def test_escape_closes_a_request_and_the_focus_goes_back_to_its_button(tab: Tab) -> None:
    tab.run("document.querySelector('#requests-table button').focus()")
    opened_request = tab.run("document.activeElement.dataset.request")
    press(tab, "Enter", text="\r")
    tab.wait("document.activeElement.closest('#requests-open') !== null")
    press(tab, "Escape")
    tab.wait("document.querySelector('#requests-open').childElementCount === 0")
    assert tab.run("document.activeElement.dataset.request") == opened_request
    tab.run("document.activeElement.blur()")


def press(tab: Tab, key: str, text: str = "") -> None:
    code = {"Enter": 13, "Escape": 27}[key]
    for kind in ("keyDown", "keyUp"):
        event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
        tab.call("Input.dispatchKeyEvent", **event, **({"text": text} if text else {}))


@needs_browser
def test_a_paused_page_stands_still_and_then_has_every_row(tab: Tab) -> None:
    row = "Number(document.documentElement.dataset.row)"
    tab.run("document.getElementById('pause').click()")
    assert tab.run("document.getElementById('connection').dataset.state") == "paused"
    time.sleep(2 * INTERVAL_S)  # an answer that was under way
    before = tab.run(row)
    time.sleep(3 * INTERVAL_S)
    assert tab.run(row) == before
    tab.run("document.getElementById('pause').click()")
    tab.wait(f"{row} > {before} + 2")
    tab.wait("document.getElementById('connection').dataset.state === 'live'")


def move_slider(tab: Tab, value: float) -> None:
    tab.run(
        "(() => { const slider = document.getElementById('what-if-slider-0');"
        f"slider.value = {value}; slider.dispatchEvent(new Event('input')); }})()"
    )


@needs_browser
def test_a_slider_predicts_what_a_replay_of_the_sample_gives(server: FakedServer, tab: Tab) -> None:
    move_slider(tab, 0.6)
    answer = httpx.get(f"{server.url}/cascadia/what-if", params={"thresholds": "0.6"}).json()
    sample = load_plan_sample(Path(server.config.planner.sample or ""), ["small", "large"])
    nothing = EntryWindow(scores=[], input_tokens=[], output_tokens=[], ended=0, threshold=0.8)
    replayed = what_if(sample, nothing, [0.8], [0.6], [None, None])
    assert not answer["is_weighted"]  # the faked prompts are unlike the sample's
    assert answer["then"]["quality"] == pytest.approx(replayed.then.quality, abs=1e-6)
    assert answer["now"]["quality"] == pytest.approx(replayed.now.quality, abs=1e-6)
    percent = 100 * replayed.then.quality
    shown = "parseFloat(document.querySelector('[data-field=\"then quality\"]')?.textContent)"
    tab.wait(f"Math.abs({shown} - {percent}) < 0.006")


@needs_browser
def test_applying_needs_the_key_and_a_dry_run_first(server: FakedServer, tab: Tab) -> None:
    def result() -> str:
        return str(tab.run("document.getElementById('what-if-result').textContent"))

    before = server.mover.number
    move_slider(tab, 0.55)
    assert tab.run("document.getElementById('what-if-apply').disabled")
    tab.run("document.getElementById('what-if-dry').click()")
    tab.wait("document.getElementById('what-if-result').textContent.startsWith('Refused')")
    assert "admin key" in result()
    tab.console = [line for line in tab.console if "401" not in line]
    tab.run(f"document.getElementById('what-if-key').value = {json.dumps(ADMIN_KEY)}")
    tab.run("document.getElementById('what-if-dry').click()")
    tab.wait("document.getElementById('what-if-result').textContent.startsWith('Dry run')")
    assert "thresholds" in result()
    assert server.mover.number == before
    tab.run("document.getElementById('what-if-apply').click()")
    tab.wait("document.getElementById('what-if-result').textContent.startsWith('Applied')")
    assert server.router.config.routing.thresholds == [0.55]
    assert server.mover.number == before + 1
    tab.wait("document.querySelector('[data-kind=plan]') !== null", within_s=4)
    tab.wait(
        f"document.querySelector('[data-field=\"plan number\"]').textContent === '{before + 1}'"
    )


@needs_browser
def test_a_lost_worker_shows_within_two_seconds(server: FakedServer, tab: Tab) -> None:
    server.lose("small-2")
    tab.wait(
        "document.querySelector('[data-worker=\"small-2\"].tile') === null && "
        "[...document.querySelectorAll('#capacity-timeline li')].some((line) => "
        "line.textContent.includes('small-2 gone: a process ended (from outside)'))",
        within_s=2,
    )


@needs_browser
@pytest.mark.parametrize(
    ("prompt", "answer"), [("easy", "easy by tier 0"), ("hard", "a good answer")]
)
def test_the_playground_streams_an_answer(tab: Tab, prompt: str, answer: str) -> None:
    tab.run(
        f"document.getElementById('playground-prompt').value = {json.dumps(prompt)};"
        f"document.getElementById('playground-admin').value = {json.dumps(ADMIN_KEY)};"
        "document.getElementById('playground-ask').click()"
    )
    tab.wait("document.getElementById('playground-state').textContent.startsWith('answered by')")
    tab.wait("!document.getElementById('playground-ask').disabled")
    shown = tab.run("document.getElementById('playground-answer').textContent")
    assert shown.strip() == answer
    discarded = tab.run("document.getElementById('playground-discarded').textContent")
    assert discarded == (
        "" if prompt == "easy" else "small, below_threshold, score 0.31a weak answer"
    )


@needs_browser
def test_a_page_that_is_narrow_does_not_scroll_sideways(tab: Tab) -> None:
    tab.resize(400, 900)
    time.sleep(0.3)
    wide = tab.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    tab.resize(1280, 900)
    assert wide == 0


@needs_browser
def test_every_field_has_a_label_and_every_picture_a_text(tab: Tab) -> None:
    unlabelled = tab.run(
        "[...document.querySelectorAll('input, select, textarea')]"
        ".filter((one) => !one.labels?.length).map((one) => one.id)"
    )
    assert unlabelled == []
    unnamed = tab.run(
        "[...document.querySelectorAll('[role=img]')]"
        ".filter((one) => !one.getAttribute('aria-label')).length"
    )
    assert unnamed == 0
    twice = tab.run(
        "[...document.querySelectorAll('[id]')].map((one) => one.id)"
        ".filter((id, place, all) => all.indexOf(id) !== place)"
    )
    assert twice == []
    # Tables without an id are legends of charts, which have a text of their own.
    unnamed_rows = tab.run(
        "[...document.querySelectorAll('table[id] tbody tr')]"
        ".filter((row) => row.firstElementChild.scope !== 'row').length"
    )
    assert unnamed_rows == 0
    untitled = tab.run(
        "[...document.querySelectorAll('table[id]')]"
        ".filter((table) => !table.caption?.textContent).length"
    )
    assert untitled == 0


@needs_browser
def test_dark_and_light_are_readable(tab: Tab) -> None:
    """The contrast of text to its ground, as WCAG 2 has it: 4.5 at least."""
    script = """
    (() => {
      const light = (text) => {
        const parts = text.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
          .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
      };
      const ground = light(getComputedStyle(document.querySelector("section")).backgroundColor);
      const names = ["h2", ".note", ".tier-name", "#requests-table td", "nav a", ".good"];
      const found = names.map((name) => {
        const own = light(getComputedStyle(document.querySelector(name)).color);
        return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
      });
      return Math.min(...found);
    })()
    """
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        tab.wait(f"document.documentElement.dataset.theme === '{scheme}'")
        assert tab.run(script) >= 4.5, scheme


@needs_browser
def test_a_server_that_is_gone_is_said_and_one_that_is_back_is_shown_again(tab: Tab) -> None:
    def set_offline(is_offline: bool) -> None:
        limits = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        tab.call("Network.emulateNetworkConditions", offline=is_offline, **limits)

    set_offline(True)
    tab.wait("document.getElementById('connection').dataset.state === 'lost'", within_s=4)
    set_offline(False)
    tab.wait("document.getElementById('connection').dataset.state === 'live'", within_s=4)
    tab.console = [line for line in tab.console if "ERR_INTERNET_DISCONNECTED" not in line]


@needs_browser
def test_nothing_was_written_on_the_console(tab: Tab) -> None:
    """The last test: of the whole visit."""
    tab.run("1")
    assert tab.console == []
