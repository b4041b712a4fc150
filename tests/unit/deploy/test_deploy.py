"""What `deploy/` holds: checked by the tools that it is for, where they are installed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cascadia_sglang.config.settings import CascadeConfig
from cascadia_sglang.metrics.families import BY_NAME
from cascadia_sglang.server.shutdown import EXIT_S
from cascadia_sglang.version import __version__
from tests.repo.source import ROOT
from tests.unit.deploy.board import BOARD, load_board, queries, selectors

DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yaml"
# Labels of every scrape.
_ALWAYS = {"job", "instance"}


def tool(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {package})")
    return path


def run(*words: str | Path, cwd: Path = ROOT) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    alerts: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    return alerts


def all_queries() -> list[tuple[str, str]]:
    return [*queries(load_board()), *((rule["alert"], rule["expr"]) for rule in rules())]


@pytest.mark.parametrize(("name", "query"), all_queries())
def test_a_query_names_metrics_and_labels_that_exist(name: str, query: str) -> None:
    named = 0
    for metric, labels in selectors(query):
        family = next(
            (
                BY_NAME[m]
                for m in (metric, re.sub(r"_(bucket|count|sum)$", "", metric))
                if m in BY_NAME
            ),
            None,
        )
        assert family is not None, (name, metric)
        assert labels <= {*family.labels, *_ALWAYS}, (name, metric)
        assert metric == family.name or family.kind == "histogram", (name, metric)
        named += 1
    assert named or "sglang" in query or "up{" in query


@pytest.mark.parametrize(("name", "query"), all_queries())
def test_sglangs_metrics_are_found_in_both_spellings(name: str, query: str) -> None:
    for spelled in re.findall(r"sglang[^\w{\"]*\S*", query):
        assert spelled.startswith("sglang[:_]"), name


def test_every_query_of_the_board_is_one_that_prometheus_reads(tmp_path: Path) -> None:
    promtool = tool("promtool", "prometheus")
    recorded = [
        {"record": f"board:query{number}", "expr": query}
        for number, (_, query) in enumerate(queries(load_board()))
    ]
    path = tmp_path / "board.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": recorded}]}))
    output = run(promtool, "check", "rules", path)
    assert f"{len(recorded)} rules found" in output


def test_the_board_can_be_imported_anywhere() -> None:
    board = load_board()
    assert BOARD.stat().st_size < 100_000
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    names = {variable["name"] for variable in board["templating"]["list"]}
    assert names == {"datasource", "job", "tier"}
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24


def test_the_alerts_fire_when_they_should() -> None:
    promtool = tool("promtool", "prometheus")
    assert f"{len(rules())} rules found" in run(promtool, "check", "rules", ALERTS)
    run(promtool, "test", "rules", "alerts_test.yaml", cwd=ALERTS.parent)
    run(promtool, "check", "config", DEPLOY / "prometheus/prometheus.yaml")


def test_yaml_is_well_formed() -> None:
    yamllint = tool("yamllint", "yamllint")
    run(yamllint, "--strict", "--config-file", ROOT / ".yamllint.yaml", DEPLOY, ROOT / "examples")


def test_the_compose_file_mounts_what_is_there_and_leaves_time_to_stop() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    server = compose["services"]["cascadia"]
    assert int(server["stop_grace_period"].removesuffix("s")) > EXIT_S
    assert server["image"] == f"cascadia:{__version__}"
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).is_file()
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists(), volume
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    (target,) = scrape["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == "cascadia:30000"


def test_the_pod_has_probes_and_time_to_end() -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes/cascadia.yaml").read_text()))
    config, deployment, service = documents
    assert [document["kind"] for document in documents] == ["ConfigMap", "Deployment", "Service"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    wait_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > wait_s + EXIT_S
    # SGLang asks these routes for no key.
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert path.startswith(("/health", "/ready", "/metrics")), probe
        assert container[probe]["httpGet"]["port"] == container["ports"][0]["name"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels == deployment["spec"]["selector"]["matchLabels"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    cascade = yaml.safe_load(config["data"]["cascade.yaml"])
    assert [tier["name"] for tier in cascade["tiers"]] == ["small", "large"]
    assert container["image"] == f"cascadia:{__version__}"
    cascade_keys = set(CascadeConfig.__struct_fields__)
    assert set(cascade) <= cascade_keys


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    text = (DEPLOY / "systemd/cascadia.service").read_text()
    stop_s = int(re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[0])
    assert stop_s > EXIT_S
    unit = tmp_path / "cascadia.service"
    # The command and the page lie where an operator puts them.
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
    text = re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE)
    unit.write_text(text)
    output = run(analyze, "verify", unit)
    assert "cascadia.service" not in output, output


def test_the_check_of_the_image_passes_here() -> None:
    """What the build runs after the installation, with this environment in the image's place."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    scripts = re.findall(r'python3 -c "([^"]+)"', text)
    assert len(scripts) == 2
    for script in scripts:
        run(sys.executable, "-c", script)
    copied = {
        word.strip("./")
        for line in re.findall(r"^COPY (.*)$", text, re.M)
        for word in line.split()[:-1]
    }
    assert all((ROOT / name).exists() for name in copied)
    assert "FROM ${SGLANG_IMAGE}" in text
