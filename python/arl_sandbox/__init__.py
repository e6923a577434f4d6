"""Sandboxes of the ARL operator: commands and files in warm Kubernetes pods.

    from arl_sandbox import Sandbox

    with Sandbox.create(pool="python-pool") as sandbox:
        sandbox.files.write("/workspace/hello.py", "print('hello')")
        print(sandbox.commands.run("python3 hello.py", cwd="/workspace").stdout)

:class:`AsyncSandbox` and :class:`AsyncClient` are the same for asyncio. See docs/python.md.
"""

from ._async.client import AsyncClient
from ._async.commands import AsyncCommands
from ._async.files import AsyncFiles
from ._async.handle import AsyncCommandHandle
from ._async.sandbox import AsyncSandbox
from ._models import (
    EntryInfo,
    Output,
    Percentiles,
    ProcessInfo,
    Snapshot,
    Timings,
    WriteEntry,
    WriteInfo,
)
from ._native import __version__
from ._results import (
    CommandError,
    CommandMemoryError,
    CommandResult,
    CommandTimeoutError,
    Gap,
)
from ._sync.client import Client
from ._sync.commands import Commands
from ._sync.files import Files
from ._sync.handle import CommandHandle
from ._sync.sandbox import Sandbox
from .errors import (
    AccessDeniedError,
    AgentUnusableError,
    ApiError,
    ArlError,
    ConfigError,
    DeadlineError,
    ExistsError,
    Fault,
    ForbiddenError,
    IsDirectoryError,
    NotDirectoryError,
    NotFoundError,
    NotReadyError,
    OldAgentError,
    PodLostError,
    PoolNotFoundError,
    RemoteError,
    SandboxNotFoundError,
    StdinClosedError,
    TransferError,
    UnreachableError,
    UsageError,
)

__all__ = [
    "AccessDeniedError",
    "AgentUnusableError",
    "ApiError",
    "ArlError",
    "AsyncClient",
    "AsyncCommandHandle",
    "AsyncCommands",
    "AsyncFiles",
    "AsyncSandbox",
    "Client",
    "CommandError",
    "CommandHandle",
    "CommandMemoryError",
    "CommandResult",
    "CommandTimeoutError",
    "Commands",
    "ConfigError",
    "DeadlineError",
    "EntryInfo",
    "ExistsError",
    "Fault",
    "Files",
    "ForbiddenError",
    "Gap",
    "IsDirectoryError",
    "NotDirectoryError",
    "NotFoundError",
    "NotReadyError",
    "OldAgentError",
    "Output",
    "Percentiles",
    "PodLostError",
    "PoolNotFoundError",
    "ProcessInfo",
    "RemoteError",
    "Sandbox",
    "SandboxNotFoundError",
    "Snapshot",
    "StdinClosedError",
    "Timings",
    "TransferError",
    "UnreachableError",
    "UsageError",
    "WriteEntry",
    "WriteInfo",
    "__version__",
]
