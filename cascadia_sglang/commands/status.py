"""Show the tiers, workers and counters of a running server.

Example:
    cascadia status --url http://127.0.0.1:30000
"""

import argparse
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from cascadia_sglang.errors import StatusError

TIMEOUT_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:30000",
        help="address of the server; default: %(default)s",
    )
    parser.add_argument(
        "--api-key", default=None, help="API key, if the server was started with one"
    )
    parser.add_argument("--json", action="store_true", help="print the status as JSON")


def run(args: argparse.Namespace) -> int:
    """Ask the server and print.

    Raises:
        StatusError: if it does not answer, or is no cascade; names the address and the reason.
    """
    status = read_status(args.url, args.api_key)
    print(json.dumps(status) if args.json else "\n".join(lines(status)))
    return 0


def read_status(url: str, api_key: str | None = None) -> dict[str, Any]:
    """Read `GET /cascadia/status` of a running server: tiers, workers, thresholds, counters.

    Args:
        url: of the server, such as `127.0.0.1:30000`.
        api_key: of a server that was started with one.

    Raises:
        StatusError: if the server does not answer, or is no cascade.
    """
    base = url if "://" in url else f"http://{url}"
    address = f"{base.rstrip('/')}/cascadia/status"
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            status = json.load(response)
    except urllib.error.HTTPError as error:
        reasons = {401: "it asks for --api-key", 404: "it serves no cascade"}
        reason = reasons.get(error.code, error.reason)
        raise StatusError(f"{address} answers {error.code}: {reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StatusError(f"{address} does not answer: {error}") from None
    if not isinstance(status, dict) or not {"tiers", "workers"} <= status.keys():
        raise StatusError(f"{address} does not answer as a cascade does")
    return status


def lines(status: dict[str, Any]) -> Iterator[str]:
    """The status for a reader."""
    yield f"{'tier':<16}{'threshold':>10}{'answered':>10}{'escalated':>10}  judge"
    for tier in status["tiers"]:
        threshold = tier["threshold"]
        shown = "-" if threshold is None else f"{threshold:.4f}"
        judge = ", ".join([tier["judge"], *_notes(tier, status["bypassed"])])
        yield (
            f"{tier['name']:<16}{shown:>10}{tier['answered']:>10}{tier['escalated']:>10}  {judge}"
        )
    yield f"{'worker':<16}{'state':>10}{'running':>10}  tiers"
    for worker in status["workers"]:
        tiers = ", ".join(worker["tiers"])
        yield f"{worker['id']:<16}{worker['state']:>10}{worker['running']:>10}  {tiers}"
    yield f"plan {status['plan_number']}, gear {status['gear']}, {status['active']} on their way"


def _notes(tier: dict[str, Any], bypassed: list[str]) -> Iterator[str]:
    if tier["escalation_rate"] is not None:
        recent = tier["recent_escalation_rate"]
        now = "" if recent is None else f", {recent:.2f} of the last"
        how = "calibrated" if tier["calibrated"] else "ranked"
        yield f"{how}, {tier['escalation_rate']:.2f} escalate{now}"
    if tier["judge_errors"]:
        yield f"{tier['judge_errors']} errors"
    if tier["drift"] is not None and tier["drift"]["alarm"]:
        yield "scores have drifted"
    if tier["shadow"] is not None and tier["shadow"]["alarm"]:
        yield "agrees less with the last tier"
    if tier["self_calibration"] is not None:
        yield _self_calibration(tier["self_calibration"])
    if tier["name"] in bypassed:
        yield "tier bypassed"


def _self_calibration(progress: dict[str, Any]) -> str:
    """How far a tier is that calibrates itself, and what it promises."""
    bound = progress["bound"]
    if bound is None or bound["disagree_at_most"] is None:
        labels = f"{progress['effective_labels']:.0f} of {progress['needed']:.0f} effective labels"
        return f"{progress['state']}: {labels}"
    return (
        f"{progress['state']}: the last tier disagrees with at most "
        f"{bound['disagree_at_most']:.1%} of the accepted (n = {bound['accepted']})"
    )
