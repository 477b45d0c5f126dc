"""Every exception the kernel raises.

An error says *what* happened, *why*, and how to *mend* it; `str(error)` is all three in one line.
`code` is stable and machine readable (it is the `code` of the OpenAI error shape), `status` is the HTTP
status it maps to, `kind` the OpenAI error `type`, and `retry_after` the seconds after which trying again
makes sense (None when it does not).
"""

from __future__ import annotations

from typing import ClassVar


class AiosError(Exception):
    """Base of all. Catch this to catch everything the kernel can tell you."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"

    def __init__(
        self,
        what: str,
        mend: str = "",
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what, mend)
        self.what = what
        self.mend = mend
        self.param = param
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.what} {self.mend}".strip()


def sentence(text: str) -> str:
    """`text` with a full stop if it has no end, for what a person or a library said."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


# -- the caller's request ---------------------------------------------------------------------------


class BadRequest(AiosError):
    """The request does not have the form the call needs."""

    code = "invalid_request"
    status = 400
    kind = "invalid_request_error"


class InvalidSchema(BadRequest):
    """A JSON schema or grammar can't be compiled, or can't be met within `max_tokens`."""

    code = "invalid_schema"


class ContextOverflow(BadRequest):
    """The prompt (and what must be generated) is longer than the model's window. `tokens`: of the prompt; 0:
    not known."""

    code = "context_length_exceeded"

    def __init__(
        self,
        what: str,
        mend: str = "",
        *,
        param: str | None = None,
        retry_after: float | None = None,
        tokens: int = 0,
    ) -> None:
        super().__init__(what, mend, param=param, retry_after=retry_after)
        self.tokens = tokens


class PayloadTooLarge(BadRequest):
    """The request body is larger than the server takes."""

    code = "payload_too_large"
    status = 413


class InvalidPath(BadRequest):
    """The path or name can't be used in an agent's root, or would lead out of it."""

    code = "invalid_path"


class Unauthenticated(AiosError):
    """No key, or one the kernel does not know."""

    code = "invalid_api_key"
    status = 401
    kind = "authentication_error"


class Forbidden(AiosError):
    """The caller is known and may not do this."""

    code = "forbidden"
    status = 403
    kind = "permission_error"


class NotFound(AiosError):
    """No such thing, or none this caller may know of."""

    code = "not_found"
    status = 404
    kind = "invalid_request_error"


class UnknownModel(NotFound):
    """No core serves a model of that name."""

    code = "model_not_found"


class Conflict(AiosError):
    """The thing is in a state that does not allow this (for example: the process has exited)."""

    code = "conflict"
    status = 409
    kind = "invalid_request_error"


class VersionConflict(Conflict):
    """The file is no longer at the version that the change stands on: nothing was changed."""

    code = "version_conflict"


class LimitExceeded(AiosError):
    """A limit of the process or its group is used up."""

    code = "limit_exceeded"
    status = 429
    kind = "rate_limit_error"


class QuotaExceeded(LimitExceeded):
    """The agent's root holds as many bytes as it may."""

    code = "quota_exceeded"
    status = 413
    kind = "invalid_request_error"


# -- the end of a call ------------------------------------------------------------------------------


class Cancelled(AiosError):
    """The call was cancelled: by its caller, by a signal to its process, or by shutdown."""

    code = "cancelled"
    status = 499
    kind = "cancelled"


class ProcessKilled(Cancelled):
    """The process that made the call was killed."""

    code = "process_killed"
    status = 409


class DeadlineExceeded(Cancelled):
    """The call did not finish before its deadline."""

    code = "deadline_exceeded"
    status = 504


class Draining(AiosError):
    """The kernel is shutting down and takes no new calls."""

    code = "draining"
    status = 503


# -- cores ------------------------------------------------------------------------------------------


class CoreError(AiosError):
    """A core could not do its work."""

    code = "core_error"
    status = 502


class CoreUnavailable(CoreError):
    """The core is down, can't be reached, or its circuit breaker is open."""

    code = "core_unavailable"
    status = 503


class CoreTimeout(CoreError):
    """The core did not answer in time."""

    code = "core_timeout"
    status = 504


class CoreRateLimited(CoreError):
    """The endpoint refused for its rate limit, and the retries are used up."""

    code = "core_rate_limited"
    status = 429
    kind = "rate_limit_error"


class CoreRefused(CoreError):
    """The core can't do what is asked: its endpoint says that it is wrong (4xx), or it takes more memory than
    there is."""

    code = "core_refused"
    status = 400
    kind = "invalid_request_error"


class CoreProtocolError(CoreError):
    """The endpoint answered with something that is not its protocol: a cut stream, malformed JSON."""

    code = "core_protocol_error"


class EngineCrashed(CoreUnavailable):
    """The embedded engine's worker died more often than it may be restarted."""

    code = "engine_crashed"


# -- the machine the kernel runs on -----------------------------------------------------------------


class ConfigError(AiosError):
    """The configuration can't be used."""

    code = "config_error"


class ModelError(AiosError):
    """A model file is missing or can't be used."""

    code = "model_error"


class ModelNotInstalled(ModelError):
    """The model is in the catalogue but not on this disk."""

    code = "model_not_installed"


class ModelCorrupt(ModelError):
    """The file is not a loadable GGUF, or not the one its digest says."""

    code = "model_corrupt"


class DownloadFailed(ModelError):
    """No source of a model gave the pinned bytes."""

    code = "download_failed"


class EngineIncompatible(ModelError):
    """The installed engine library does not have the layout this version was written for."""

    code = "engine_incompatible"


class JournalUnavailable(AiosError):
    """The journal can't be written (disk full, read-only): nothing with an effect is started."""

    code = "journal_unavailable"
    status = 507


class StorageUnavailable(AiosError):
    """The store can't be written or read (disk full, read-only): what was asked for did not happen."""

    code = "storage_unavailable"
    status = 507


class StorageCorrupt(AiosError):
    """Stored bytes are not those that were written: `digest` (hex) names them, where they have one. They are
    not returned."""

    code = "storage_corrupt"

    def __init__(
        self,
        what: str,
        mend: str = "",
        *,
        param: str | None = None,
        retry_after: float | None = None,
        digest: str = "",
    ) -> None:
        super().__init__(what, mend, param=param, retry_after=retry_after)
        self.digest = digest


class PortTaken(AiosError):
    """The address is in use."""

    code = "port_taken"


class DaemonNotFound(AiosError):
    """No running kernel was found."""

    code = "daemon_not_found"


class ToolError(AiosError):
    """A tool failed or was called with arguments it does not take."""

    code = "tool_error"
    status = 422
    kind = "invalid_request_error"


class ToolTimeout(ToolError):
    """A tool did not finish in its time."""

    code = "tool_timeout"
    status = 504


class ToolBusy(ToolError):
    """Too many calls wait for tools."""

    code = "tool_busy"
    status = 429
    kind = "rate_limit_error"


class ToolUnavailable(ToolError):
    """What provides the tool is down, or lacks something (a key, a library, an allowed host)."""

    code = "tool_unavailable"
    status = 503


class SandboxUnavailable(ToolUnavailable):
    """Nothing on this machine can isolate a program well enough; the program did not run."""

    code = "sandbox_unavailable"


def by_code() -> dict[str, type[AiosError]]:
    """All error classes by `code`, so that a client raises the class the kernel raised."""
    found: dict[str, type[AiosError]] = {}
    todo: list[type[AiosError]] = [AiosError]
    while todo:
        cls = todo.pop()
        found.setdefault(cls.code, cls)
        todo.extend(cls.__subclasses__())
    return found
