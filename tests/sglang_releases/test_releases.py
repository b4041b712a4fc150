"""Each SGLang release has what the packages ask for, read from its wheel without installing it.

SGLANG_VERSIONS names other releases, as `make test-sglang VERSIONS=...` does.
"""

from __future__ import annotations

import ast
import os
import re
import tomllib
from pathlib import Path

import pytest

from cascadia_sglang.http.generate_requests import WARM_UP_SAMPLING, WARM_UP_TEXT
from tests.sglang_releases.asked import asked, unmet
from tests.sglang_releases.releases import LACKS, OPTIONAL
from tests.sglang_releases.source import Source, in_wheel, installed
from tests.sglang_releases.wheels import NoNetworkError, wheel_of

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = os.environ.get("SGLANG_VERSIONS", "").split() or sorted(LACKS)


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def release(version: str) -> Source:
    try:
        return in_wheel(wheel_of(version))
    except NoNetworkError as error:
        pytest.skip(f"SGLang {version} is not in the cache, and {error}")


def test_a_release_has_what_is_asked_but_for_what_is_known_to_be_missing(
    release: Source, version: str
) -> None:
    assert unmet(release) == sorted(LACKS.get(version, ()))


def test_the_serve_backend_is_of_the_releases_api(release: Source) -> None:
    (ours,) = re.findall(
        r"^_SERVE_BACKEND_API_VERSION = (\d+)$",
        (ROOT / "cascadia_sglang" / "plugin.py").read_text(),
        re.MULTILINE,
    )
    theirs = release.find("sglang.cli.serve_backends.SERVE_BACKEND_API_VERSION")
    assert theirs is not None
    assert isinstance(theirs.node, ast.Assign)
    assert ast.literal_eval(theirs.node.value) == int(ours)


def test_the_warm_up_of_a_release_is_recognized(release: Source) -> None:
    warm_up = release.find("sglang.srt.entrypoints.http_server._execute_server_warmup")
    assert warm_up is not None
    constants = {node.value for node in ast.walk(warm_up.node) if isinstance(node, ast.Constant)}
    assert {WARM_UP_TEXT, *WARM_UP_SAMPLING, 8} <= constants


def test_the_installed_release_has_everything() -> None:
    assert unmet(installed()) == []


def test_much_is_asked() -> None:
    """Were the reading of our own source to break, nothing would be asked for."""
    wants = asked()
    assert len(wants.names) > 80
    assert len(wants.members) > 150
    assert "sglang.srt.runtime_context.use_context" in wants.names
    assert "sglang.srt.managers.tokenizer_manager.TokenizerManager.context_len" in wants.members
    assert "sglang.srt.platforms.interface.SRTPlatform.get_kv_pool_cls" in wants.members
    assert "sglang.srt.managers.scheduler" in wants.members
    replaced = wants.keywords["sglang.srt.entrypoints.engine.SchedulerInitResult"]
    assert {"scheduler_infos", "all_child_pids", "wait_for_ready"} <= replaced


def test_the_requirement_names_the_oldest_release_that_lacks_nothing_needed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (requirement,) = [one for one in project["dependencies"] if one.startswith("sglang")]
    serving = [version for version, lacks in LACKS.items() if set(lacks) <= set(OPTIONAL)]
    assert requirement.startswith(f"sglang>={min(serving, key=_number)},")


def test_the_page_has_a_row_for_each_release() -> None:
    page = (ROOT / "docs" / "reference" / "sglang-releases.md").read_text()
    assert re.findall(r"^\| (\d+\.\d+\.\d+) \|", page, re.MULTILINE) == sorted(
        LACKS, key=_number, reverse=True
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
