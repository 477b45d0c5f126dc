"""Runs inside a box: opens the way to the proxy, then becomes another program. Standard library alone."""

from __future__ import annotations

import os
import resource
import sys
from typing import Any

from aios.tools.sandbox import forward


def main(config: dict[str, Any]) -> None:
    """`command` of `config`, with what follows on the command line; `proxy`: the path of its socket; `limits`:
    rlimits by name."""
    forward.start(forward.listener(), config["proxy"])
    for name, most in config["limits"].items():
        resource.setrlimit(getattr(resource, name), (most, most))
    command = [*config["command"], *sys.argv[2:]]
    os.execv(command[0], command)
