"""Scheduling policies by name, with the parameters that the configuration gives them."""

from __future__ import annotations

import difflib
from typing import Any, get_type_hints

import msgspec

from aios import plugins
from aios.config import SchedulerSettings
from aios.errors import ConfigError
from aios.scheduler.policy import SchedulingPolicy


class Policies:
    """Makes policies. Raises ConfigError if the configuration has parameters for a policy that there is not, or
    that it does not have, or of another type, or that it refuses."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._quantum = settings.quantum_tokens
        self._options = {name: _checked(name, given) for name, given in settings.options.items()}
        for name in self._options:
            try:
                self(name)
            except ValueError as error:
                raise ConfigError(f"'scheduler.options.{name}': {error}.", "Correct that value.") from error

    def __call__(self, name: str) -> SchedulingPolicy:
        """A new policy of that name. Raises ConfigError."""
        return plugins.load(plugins.POLICIES, name)(quantum=self._quantum, **self._options.get(name, {}))


def _checked(policy: str, given: dict[str, Any]) -> dict[str, Any]:
    """`given` as the policy's constructor wants it."""
    hints = get_type_hints(plugins.load(plugins.POLICIES, policy).__init__)
    known = sorted(set(hints) - {"quantum", "return"})
    options: dict[str, Any] = {}
    for option, value in given.items():
        where = f"scheduler.options.{policy}.{option}"
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.0)
            mend = f"The nearest it has is {near[0]!r}." if near else f"{policy!r} has no parameters."
            raise ConfigError(f"Unknown setting {where!r}.", mend)
        try:
            options[option] = msgspec.convert(value, hints[option])
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where!r} is wrong: {error}.", "Correct that value.") from error
        if isinstance(options[option], int | float) and options[option] < 0:
            raise ConfigError(f"{where!r} is less than 0.", "Correct that value.")
    return options
