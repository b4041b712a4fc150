"""AROUND hook on ServerArgs.from_cli_args: turns the cascade's flags into a cascade.

Upstream: copies the parsed flags it knows into a ServerArgs.
We need: with `--plugin cascadia`, a ServerArgs for every tier, everything checked, and the
patches of the main process in force before anything starts. Bad input is one line and exit 2.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from cascadia_patches.spec import PatchSpec


def _build(_: None) -> Callable[..., Any]:
    def from_cli_args(original: Callable[..., Any], cls: type, args: argparse.Namespace) -> Any:
        if getattr(args, "plugin", None) is None:
            return original(cls, args)
        from cascadia_sglang.errors import CascadiaError
        from cascadia_sglang.server.start import prepare_server

        try:
            return prepare_server(args, lambda tier_args: original(cls, tier_args))
        except CascadiaError as error:
            print(f"cascadia: error: {error}", file=sys.stderr)
            raise SystemExit(2) from None

    return from_cli_args


PATCH = PatchSpec(
    target="sglang.srt.server_args.ServerArgs.from_cli_args",
    hook_type="around",
    kind="classmethod",
    parameters=("args",),
    build=_build,
    reason="the flags alone decide whether a cascade is served; nothing else may change",
    drop_when="SGLang hands parsed flags to plugins",
)
