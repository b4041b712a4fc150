"""AFTER hook on ServerArgs.add_cli_args: the cascade's flags.

Upstream: adds SGLang's flags to the parser, with --model-path required.
We need: eleven more flags, and no --model-path where a cascade names its models. Without
`--plugin cascadia` the parser behaves as before.
"""

import argparse
from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


class _PluginAction(argparse.Action):
    """Takes the plugin's name; from then on the cascade brings the model paths."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del option_string
        setattr(namespace, self.dest, values)
        # An error of the command line is one line, not SGLang's five hundred flags before it.
        parser.usage = argparse.SUPPRESS
        for action in parser._actions:
            if action.dest == "model_path":
                action.required = False


def _build(_: None) -> Callable[..., None]:
    def add_cascade_flags(_result: None, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("cascadia")
        group.add_argument(
            "--plugin",
            choices=["cascadia"],
            action=_PluginAction,
            help="Serve a cascade of models behind this one server.",
        )
        group.add_argument("--cascade-config", help="Cascade file (YAML or JSON).")
        group.add_argument(
            "--cascade-tiers", help="Tiers without a file, smallest first: small=PATH,large=PATH."
        )
        group.add_argument(
            "--cascade-thresholds",
            help="With --cascade-tiers: one number in [0, 1] per tier but the last.",
        )
        group.add_argument(
            "--cascade-escalation-rate",
            help="With --cascade-tiers, in place of thresholds: the share of all requests that "
            "reaches the last tier, or one share per tier but the last. Default: 0.3.",
        )
        group.add_argument(
            "--cascade-logs",
            metavar="DIR",
            help="Folder of the workers' logs, one file per worker. With --log-level debug the "
            "console shows them. Default: ~/.cache/cascadia/logs/PORT.",
        )
        group.add_argument(
            "--cascade-state",
            metavar="DIR",
            help="Folder that keeps labels and self-made calibrations between starts.",
        )
        group.add_argument(
            "--cascade-ray",
            metavar="HOST:PORT",
            help="Head of a Ray cluster whose machines take workers too, or auto for the cluster "
            "that this host belongs to.",
        )
        group.add_argument(
            "--cascade-nodes",
            metavar="COUNT",
            type=int,
            help="Machines of that cluster that take workers, besides this host.",
        )
        group.add_argument(
            "--cascade-private-network",
            action="store_true",
            help="Say that only trusted machines reach this host's and Ray's ports. A cluster "
            "needs it: what server and workers send is not encrypted.",
        )
        group.add_argument(
            "--cascade-old-metric-names",
            action="store_true",
            help="With --enable-metrics: show the metrics under their old names (cascadia:...) "
            "too. The next release drops this flag.",
        )

    return add_cascade_flags


PATCH = PatchSpec(
    target="sglang.srt.server_args.ServerArgs.add_cli_args",
    hook_type="after",
    kind="staticmethod",
    parameters=("parser",),
    build=_build,
    reason="a cascade is switched on by flags of SGLang's own command line",
    drop_when="SGLang lets plugins declare flags",
)
