"""What can go wrong, and whose fault it is.

Every error is an :class:`ArlError` with a ``fault``: ``"infrastructure"`` (the cluster's, the operator's or the network's: another
Sandbox may do better), ``"task"`` (the code's that runs in the Sandbox) or ``"usage"`` (the caller's). What code in a Sandbox can cause is
never the infrastructure's. A command that exits with another code than 0 is a result, not an error, unless ``check=True`` asks for it.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

Fault: TypeAlias = Literal["infrastructure", "task", "usage"]


class ArlError(Exception):
    """Any error of this package."""

    fault: Fault
    """Who can do something about it."""
    kind: str | None
    """What kind of failure the pod reported, if it did: ``"not_found"``, ``"no_such_user"``, ..."""
    pod: str | None
    """The pod that it happened in or on the way to, where that is known."""

    def __init__(self, message: str, *, fault: Fault = "usage", **details: Any) -> None:
        super().__init__(message)
        self.fault = fault
        self.kind = details.pop("kind", None)
        self.pod = details.pop("pod", None)
        for name, value in details.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        # Of the file errors that are OSErrors too, this is the text without the number.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (type(self), str(self), dict(self.__dict__)))


def _again(error: type[ArlError], message: str, state: dict[str, Any]) -> ArlError:
    made = error.__new__(error, message)
    made.args = (message,)
    made.__dict__.update(state)
    return made


class ApiError(ArlError):
    """The API server refused a request, or did not answer it."""

    code: int | None = None
    """The HTTP status of its answer."""
    reason: str | None = None
    """The reason of its answer, as Kubernetes names it."""


class ForbiddenError(ApiError):
    """The caller lacks a right, or a quota or a policy forbids it (403)."""


class SandboxNotFoundError(ApiError):
    """There is no Sandbox of this name in the namespace: it was released, or idle for too long, or is in another one."""

    sandbox: str
    """Its name."""


class ConfigError(ArlError):
    """There is no usable kubeconfig, and this is not a pod."""


class NotReadyError(ArlError):
    """A Sandbox did not become ready in time, or never will; it was deleted again."""

    sandbox: str
    """Its name."""
    reason: str
    """The reason on its condition: ``"PoolEmpty"``, ``"PoolNotFound"``, ..."""


class PoolNotFoundError(NotReadyError):
    """There is no pool of this name in the namespace."""


class UnreachableError(ArlError):
    """The pod was not reached for two minutes."""


class PodLostError(ArlError):
    """The pod, or its container, is gone, and with it what ran there. Use another Sandbox."""


class AgentUnusableError(ArlError):
    """Code in the Sandbox removed, stopped or replaced the agent. Use another Sandbox."""


class OldAgentError(ArlError):
    """The pod was made by an operator that had no live commands; Tasks still work."""


class TransferError(ArlError):
    """A file was in transfer when its stream broke. A file that was being written is as it was; try it again."""


class DeadlineError(ArlError, TimeoutError):
    """Something was not done in the time that the caller gave it."""


class UsageError(ArlError, ValueError):
    """What was asked for makes no sense."""


class RemoteError(ArlError):
    """The pod refused or failed to do what it was asked for; ``kind`` says why."""

    errno: int | None = None
    """The number of the system call's error, where one failed."""


class NotFoundError(RemoteError, FileNotFoundError):
    """There is no such file, directory or program."""


class IsDirectoryError(RemoteError, IsADirectoryError):
    """It is a directory."""


class NotDirectoryError(RemoteError, NotADirectoryError):
    """It is no directory, or something on the way is none."""


class AccessDeniedError(RemoteError, PermissionError):
    """The user may not do that in the Sandbox."""


class ExistsError(RemoteError, FileExistsError):
    """It exists already."""


class StdinClosedError(ArlError, BrokenPipeError):
    """The process does not read its standard input any more."""


_BY_NAME: dict[str, type[ArlError]] = {
    "api": ApiError,
    "no_sandbox": SandboxNotFoundError,
    "config": ConfigError,
    "unreachable": UnreachableError,
    "pod_lost": PodLostError,
    "agent_unusable": AgentUnusableError,
    "old_agent": OldAgentError,
    "interrupted": TransferError,
    "not_ready": NotReadyError,
    "deadline": DeadlineError,
    "usage": UsageError,
    "stdin_closed": StdinClosedError,
    "remote": RemoteError,
}
_BY_KIND: dict[str, type[RemoteError]] = {
    "not_found": NotFoundError,
    "is_directory": IsDirectoryError,
    "not_directory": NotDirectoryError,
    "permission_denied": AccessDeniedError,
    "exists": ExistsError,
}


def from_native(failure: dict[str, Any] | BaseException) -> BaseException:
    """The exception for a failure, as the native half describes it."""
    if isinstance(failure, BaseException):
        return failure
    details = dict(failure)
    name, message = details.pop("name"), details.pop("message")
    error = _BY_NAME.get(name, ArlError)
    if name == "remote":
        error = _BY_KIND.get(details["kind"], RemoteError)
    elif details.get("reason") == "PoolNotFound":
        error = PoolNotFoundError
    elif details.get("code") == 403:
        error = ForbiddenError
    return error(message, **details)
