"""What a policy learned of agents, kept over restarts of the kernel."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from aios.scheduler.policy import Learner, SchedulingPolicy

log = logging.getLogger(__name__)

Sizes = dict[str, list[float]]


class LearnedFile:
    """A JSON file of one core. It is only a help: one that can't be read or written is told of, and left."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def teach(self, policy: SchedulingPolicy) -> None:
        """Tell `policy`, if it learns, what one before it learned. Blocks."""
        if not isinstance(policy, Learner) or not self._path.exists():
            return
        try:
            policy.learn(msgspec.json.decode(self._path.read_bytes(), type=Sizes))
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s is of no use: %s", self._path, error)

    def keep(self, policy: SchedulingPolicy) -> None:
        """Write what `policy` learned, if it did. Blocks."""
        if not isinstance(policy, Learner) or not (learned := policy.learned()):
            return
        beside = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(learned))
            beside.replace(self._path)
        except OSError as error:
            log.warning("What was learned can't be kept: %s", error)
