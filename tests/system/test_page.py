"""The page in headless Chromium, against the real demo under load."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cascadia_sglang.page.what_if import predicted
from cascadia_sglang.planner.thresholds.sample import load_plan_sample
from demo.tasks.splits import sample as demo_questions
from tests.system.conftest import KEY
from tests.system.serving import Server
from tests.unit.page.chromium import BINARY, Tab, opened

pytestmark = [
    pytest.mark.sglang,
    pytest.mark.slow,
    pytest.mark.skipif(
        BINARY is None, reason="chromium is not installed (Debian: apt-get install chromium)"
    ),
]

TIERS = ("small", "large")
# The page reads latency and scores less often than the counters.
RECENT_S = 6.0
READY = "Number(document.documentElement.dataset.row) > 3"


class Traffic:
    """Questions of the demo, one after the other on a few threads, while it is on."""

    def __init__(self, server: Server, width: int = 3) -> None:
        self._server = server
        self._questions = itertools.cycle(demo_questions("test", 0, 200))
        self._is_on = threading.Event()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(width)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with self._server.client() as client:
            while not self._is_over.is_set():
                if not self._is_on.wait(0.1):
                    continue
                prompt = next(self._questions).prompt
                client.post(
                    "/generate",
                    json={
                        "text": prompt,
                        "sampling_params": {"temperature": 0, "max_new_tokens": 24},
                    },
                )

    def on(self) -> None:
        self._is_on.set()

    def off(self) -> None:
        """Returns once the last request is over and the page has had a tick."""
        self._is_on.clear()
        deadline = time.monotonic() + 30
        while self._server.status()["active"] and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2.5)

    def end(self) -> None:
        self._is_on.clear()
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture(scope="module")
def traffic(fleet: Server) -> Iterator[Traffic]:
    running = Traffic(fleet)
    running.on()
    yield running
    running.end()


@pytest.fixture(scope="module")
def tab(fleet: Server, traffic: Traffic) -> Iterator[Tab]:
    del traffic
    with opened() as page:
        page.open(f"{fleet.url}/cascadia")
        page.wait(READY, within_s=30)
        yield page


def test_every_panel_has_data(tab: Tab) -> None:
    tab.wait("document.querySelectorAll('#latency-table tbody tr').length >= 2", within_s=15)
    tab.wait("document.querySelectorAll('#requests-table tbody tr').length > 5", within_s=15)
    tab.wait("document.querySelectorAll('#flow-lanes path').length >= 3", within_s=15)
    assert tab.run("document.querySelectorAll('#capacity-workers article').length") == 3
    assert tab.run("document.querySelectorAll('#caches-table tbody tr').length") == 2
    assert tab.run("document.querySelectorAll('#judge-tiers svg').length") >= 1
    assert tab.run("document.querySelectorAll('canvas').length") == 5
    decided = tab.run("document.getElementById('capacity-plan').textContent")
    assert "controller" in decided


def test_the_counters_are_those_of_the_status_and_of_the_metrics(
    fleet: Server, tab: Tab, traffic: Traffic
) -> None:
    traffic.off()
    try:
        status = fleet.status()
        with fleet.client() as client:
            text = client.get("/metrics").text
        counted = dict.fromkeys(TIERS, 0.0)
        ours = "".join(line for line in text.splitlines(keepends=True) if "cascadia_req" in line)
        for family in text_string_to_metric_families(ours):
            for sample in family.samples:
                if sample.name == "cascadia_requests_total" and sample.labels["tier"] in counted:
                    counted[sample.labels["tier"]] += sample.value
        for tier in status["tiers"]:
            name = tier["name"]
            script = f"document.querySelector('[data-field=\"answered {name}\"]').textContent"
            assert int(tab.run(script)) == tier["answered"] == counted[name]
        workers = tab.run(
            "[...document.querySelectorAll('.tile')].map((tile) => "
            "[tile.dataset.worker, tile.dataset.state])"
        )
        assert dict(workers) == {worker["id"]: worker["state"] for worker in status["workers"]}
        plan = tab.run("document.querySelector('[data-field=\"plan number\"]').textContent")
        assert int(plan) == status["plan_number"]
        held = {name: int(text.replace(",", "")) for name, text in cells(tab, "caches-workers")}
        assert held == status["prefixes"]["held_tokens"]
        judge = tab.run("document.getElementById('judge-tiers').textContent")
        assert f"{status['tiers'][0]['judge_errors']} judge errors" in judge
        # All requests of this server are younger than an hour.
        answered = {tier["name"]: f"{tier['answered']:,}" for tier in status["tiers"]}
        deadline = time.monotonic() + RECENT_S
        while (shown := dict(cells(tab, "latency-table"))) and time.monotonic() < deadline:
            if answered.items() <= shown.items():
                break
            time.sleep(0.2)
        assert answered.items() <= shown.items()
    finally:
        traffic.on()


def cells(tab: Tab, table: str) -> list[list[str]]:
    """The first two cells of every row of a table."""
    rows: list[list[str]] = tab.run(
        f"[...document.querySelectorAll('#{table} tbody tr')]"
        ".map((row) => [row.cells[0].textContent, row.cells[1].textContent])"
    )
    return rows


def test_a_slider_predicts_what_a_replay_of_the_sample_gives(fleet: Server, tab: Tab) -> None:
    with fleet.client() as client:
        answer = client.get("/cascadia/what-if", params={"thresholds": "0.5"}).json()
    # The sample's prompts are longer than any of the demo's, so nothing weights it.
    assert not answer["is_weighted"]
    graded = load_plan_sample(sample_of(fleet), TIERS).graded()
    replayed = predicted(graded, [0.5], [None, None])
    assert answer["then"]["quality"] == pytest.approx(replayed.quality, abs=1e-6)
    assert answer["then"]["shares"] == pytest.approx(replayed.shares, abs=1e-6)
    move_slider(tab, 0.5)
    shown = "parseFloat(document.querySelector('[data-field=\"then quality\"]')?.textContent)"
    tab.wait(f"Math.abs({shown} - {100 * replayed.quality}) < 0.006")


def sample_of(server: Server) -> Path:
    return server.log.parent / "sample.json"


def move_slider(tab: Tab, value: float) -> None:
    tab.run(
        "(() => { const slider = document.getElementById('what-if-slider-0');"
        f"slider.value = {value}; slider.dispatchEvent(new Event('input')); }})()"
    )


def test_applying_is_refused_without_the_key_and_works_with_it(fleet: Server, tab: Tab) -> None:
    (before,) = fleet.status()["thresholds"]
    result = "document.getElementById('what-if-result').textContent"
    key = "document.getElementById('what-if-key').value"
    try:
        move_slider(tab, 0.85)
        tab.run(f"{key} = 'another'; document.getElementById('what-if-dry').click()")
        tab.wait(f"{result}.startsWith('Refused')")
        assert fleet.status()["thresholds"] == [before]
        tab.console = [line for line in tab.console if "401" not in line]
        tab.run(f"{key} = {json.dumps(KEY)}; document.getElementById('what-if-dry').click()")
        tab.wait(f"{result}.startsWith('Dry run')")
        assert fleet.status()["thresholds"] == [before]
        tab.run("document.getElementById('what-if-apply').click()")
        tab.wait(f"{result}.startsWith('Applied')")
        assert fleet.status()["thresholds"] == [0.85]
    finally:
        headers = {"authorization": f"Bearer {KEY}"}
        body = {"thresholds": [before]}
        httpx.post(f"{fleet.url}/cascadia/thresholds", json=body, headers=headers)


def test_a_killed_worker_appears_within_two_seconds(fleet: Server, tab: Tab) -> None:
    worker = next(worker for worker in fleet.status()["workers"] if worker["tiers"] == ["small"])
    psutil.Process(worker["pids"][0]).kill()
    name = json.dumps(worker["id"])
    tab.wait(
        "[...document.querySelectorAll('#capacity-timeline li')].some((line) => "
        f"line.dataset.worker === {name} && line.textContent.includes('gone'))",
        within_s=2.0,
    )
    tab.wait(
        "[...document.querySelectorAll('.tile')].filter((tile) => "
        "tile.dataset.state === 'ready').length === 3",
        within_s=60.0,
    )


def test_the_playground_shows_the_answer_and_what_was_discarded(tab: Tab) -> None:
    tab.run(
        "document.getElementById('playground-prompt').value = 'mul 987 6';"
        f"document.getElementById('playground-admin').value = {json.dumps(KEY)};"
        "document.getElementById('playground-ask').click()"
    )
    tab.wait("document.getElementById('playground-state').textContent.startsWith('answered by')")
    tab.wait("!document.getElementById('playground-ask').disabled")
    state = tab.run("document.getElementById('playground-state').textContent")
    answer = tab.run("document.getElementById('playground-answer').textContent")
    discarded = tab.run("document.getElementById('playground-discarded').textContent")
    assert answer.strip()
    assert bool(discarded) == state.startswith("answered by large")


def test_nothing_was_written_on_the_console(tab: Tab) -> None:
    """The last test: of the whole visit."""
    tab.run("1")
    assert tab.console == []
