"""Secrets: encrypted at rest (AES-256-GCM), known to agents by handle only, put in at the call.

A handle is `{{secret:NAME}}` in a tool's arguments. The model and the journal see the handle; the tool gets
the value, if the agent may use it; whatever comes back or is told goes through the redactor."""

from __future__ import annotations

import base64
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aios.access.decision import Subject
from aios.access.files import write_private
from aios.access.globs import Names
from aios.access.master import MasterKey
from aios.access.redact import SHORTEST, Redactor
from aios.errors import BadRequest, ConfigError, NotFound
from aios.syscalls import Record

NONCE = 12
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_HANDLE = re.compile(r"\{\{secret:([^{}]*)\}\}")


class SecretInfo(Record, frozen=True):
    """What may be told of a secret. `agents`, `groups`: globs of who may use it; neither: nobody but admins."""

    name: str
    agents: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    created: float = 0.0


class Sealed(Record, frozen=True):
    """As it lies in the file."""

    info: SecretInfo
    box: str


class Vault:
    """All secrets of one kernel, in `path` (JSON, 0600). Safe to use from several threads.

    Raises ConfigError: the file can't be read, or was sealed with another key."""

    def __init__(
        self, path: Path, key: MasterKey, redactor: Redactor, clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self._redactor, self._clock = path, redactor, clock
        self._box = AESGCM(key.derive("secrets"))
        self._writing = threading.Lock()
        self._sealed: dict[str, Sealed] = {}
        self._values: dict[str, str] = {}
        self._keep(self._read())

    def put(
        self, name: str, value: str, agents: tuple[str, ...] = (), groups: tuple[str, ...] = ()
    ) -> SecretInfo:
        """Keep a secret, in the place of one of that name. Raises BadRequest, ConfigError (it can't be
        written)."""
        if not _NAME.fullmatch(name):
            raise BadRequest(
                f"{name!r} is no name for a secret.", "Use letters, digits, '.', '_', '-'.", param="name"
            )
        if len(value) < SHORTEST:
            what = f"A secret of less than {SHORTEST} characters can't be kept out of what is told."
            raise BadRequest(what, "Use a longer one.", param="value")
        info = SecretInfo(name=name, agents=agents, groups=groups, created=self._clock())
        nonce = os.urandom(NONCE)
        # What is told of it is sealed with it: nobody can hand it to other agents by editing the file.
        box = nonce + self._box.encrypt(nonce, value.encode(), msgspec.json.encode(info))
        sealed = Sealed(info=info, box=base64.b64encode(box).decode())
        with self._writing:
            self._write({**self._sealed, name: sealed})
        return info

    def remove(self, name: str) -> None:
        """Raises NotFound, ConfigError."""
        with self._writing:
            if name not in self._sealed:
                raise _unknown(name)
            self._write({each: sealed for each, sealed in self._sealed.items() if each != name})

    def list(self) -> tuple[SecretInfo, ...]:
        return tuple(self._sealed[name].info for name in sorted(self._sealed))

    def handles(self, value: Any) -> frozenset[str]:
        """Names of the secrets that plain data names by handle."""
        found: set[str] = set()
        _replaced(value, lambda name: found.add(name) or "")
        return frozenset(found)

    def inject(self, value: Any, subject: Subject, admin: bool = False) -> Any:
        """The same plain data with the values of its handles. Raises NotFound: there is none of that
        name, or the agent may not use it."""

        def opened(name: str) -> str:
            if not (admin or self._may_use(name, subject)):
                raise _unknown(name)
            return self._values[name]

        return _replaced(value, opened)

    def _may_use(self, name: str, subject: Subject) -> bool:
        sealed = self._sealed.get(name)
        if sealed is None:
            return False
        info = sealed.info
        by_name = bool(info.agents) and Names(info.agents).names(subject.agent, subject.name)
        return by_name or (bool(info.groups) and Names(info.groups).meets(subject.groups))

    def _read(self) -> dict[str, Sealed]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Sealed])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            mend = "Restore it, or remove it to start without secrets."
            raise ConfigError(f"The secrets {self._path} can't be read: {error}.", mend) from error

    def _write(self, sealed: dict[str, Sealed]) -> None:
        try:
            write_private(self._path, msgspec.json.format(msgspec.json.encode(sealed)))
        except OSError as error:
            mend = "Free disk space, or make its folder writable; the secrets are as they were."
            raise ConfigError(f"The secrets {self._path} can't be written: {error}.", mend) from error
        self._keep(sealed)

    def _keep(self, sealed: dict[str, Sealed]) -> None:
        values = {name: self._opened(name, each) for name, each in sealed.items()}
        self._redactor.know(values)
        self._values, self._sealed = values, sealed

    def _opened(self, name: str, sealed: Sealed) -> str:
        try:
            box = base64.b64decode(sealed.box, validate=True)
            told = msgspec.json.encode(sealed.info)
            if sealed.info.name != name:
                raise InvalidTag
            return self._box.decrypt(box[:NONCE], box[NONCE:], told).decode()
        except (InvalidTag, ValueError) as error:
            mend = "Use the key that it was sealed with, or remove the file."
            raise ConfigError(f"The secret {name!r} of {self._path} can't be opened.", mend) from error


def _replaced(value: Any, by: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return _HANDLE.sub(lambda found: by(found[1]), value) if "{{" in value else value
    if isinstance(value, Mapping):
        return {key: _replaced(each, by) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_replaced(each, by) for each in cast("list[Any]", value)]
    return value


def _unknown(name: str) -> NotFound:
    mend = "`aios secrets list` shows their names, `aios secrets set` says who may use one."
    return NotFound(f"There is no secret {name!r} that this agent may use.", mend)
