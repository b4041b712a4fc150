"""Show the tiers, workers and counters of a running server.

With --watch the table is shown again every second until Ctrl-C, with requests per second.

Example:
    cascadia status --url http://127.0.0.1:30000
    cascadia status --watch
"""

import argparse
import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from cascadia_sglang.errors import StatusError

TIMEOUT_S = 10.0
WATCH_S = 1.0
# Cursor to the top left, and nothing below it.
_CLEAR = "\x1b[H\x1b[J"


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
    parser.add_argument(
        "--watch", action="store_true", help="show the table again every second, until Ctrl-C"
    )


def run(args: argparse.Namespace) -> int:
    """Ask the server and print.

    Raises:
        StatusError: if it does not answer, or is no cascade; names the address and the reason.
    """
    if args.watch:
        return watch(lambda: read_status(args.url, args.api_key), as_json=args.json)
    status = read_status(args.url, args.api_key)
    print(json.dumps(status) if args.json else "\n".join(lines(status)))
    return 0


def watch(
    read: Callable[[], dict[str, Any]],
    *,
    as_json: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Print the status every second, until interrupted.

    A terminal shows one table that changes; elsewhere each is printed below the last. A server that
    does not answer is asked again.

    Raises:
        StatusError: if it does not answer at the first time.
    """
    before: dict[str, Any] | None = None
    status, asked_s, seconds = read(), clock(), 1.0
    is_live = sys.stdout.isatty() and not as_json
    while True:
        if as_json:
            shown = json.dumps(status)
        else:
            shown = "\n".join([*lines(status), rates(before, status, seconds)])
        print(f"{_CLEAR}{shown}" if is_live else shown, flush=True)
        before = status
        sleep(WATCH_S)
        while (answer := _read_or_say(read)) is None:
            sleep(WATCH_S)
        now_s = clock()
        status, seconds, asked_s = answer, now_s - asked_s, now_s


def _read_or_say(read: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """The status; None where the server does not answer, which is said."""
    try:
        return read()
    except StatusError as error:
        print(error, file=sys.stderr, flush=True)
        return None


def rates(before: dict[str, Any] | None, status: dict[str, Any], seconds: float) -> str:
    """Answers per second of every tier since the last look, so many seconds ago."""
    if before is None:
        return "answers per second: counting"
    answered = {tier["name"]: tier["answered"] for tier in before["tiers"]}
    tiers = ", ".join(
        f"{tier['name']} {max(0, tier['answered'] - answered.get(tier['name'], 0)) / seconds:.1f}"
        for tier in status["tiers"]
    )
    return f"answers per second: {tiers}"


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
