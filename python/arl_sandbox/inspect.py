"""Sandboxes for Inspect: ``sandbox=("arl", "python-pool")``, once the package is installed.

The configuration is the name of a pool, or a YAML file:

    namespace: evals          # otherwise that of the kubeconfig
    timeout: 3600             # seconds of idle time after which a Sandbox is deleted
    wait: 300                 # seconds that a claim may take
    environments:             # the first is the default one
      default: {pool: python-pool}
      victim: {pool: web-pool, user: www-data, envs: {PORT: "80"}}

A file called ``arl.yaml`` beside the task is found by itself.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, overload

import anyio
import yaml
from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxConnection,
    SandboxEnvironment,
    SandboxEnvironmentConfigType,
    SandboxEnvironmentLimits,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
    sandboxenv,
)
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ._async.client import AsyncClient
from ._async.sandbox import AsyncSandbox
from ._results import CommandResult
from .errors import AccessDeniedError, AgentUnusableError, ArlError, NotDirectoryError, RemoteError

NOT_FOUND = 127
"""What a shell exits with where there is no such program."""
NOT_STARTED = 126
"""What a shell exits with where a program cannot be started."""


class ArlEnvironmentConfig(BaseModel):
    """One environment of a sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pool: str
    """The pool that its Sandbox is claimed from."""
    user: str | None = None
    """Who commands are run as where the caller names nobody."""
    envs: dict[str, str] = Field(default_factory=dict)
    """Variables for all commands."""


class ArlSandboxConfig(BaseModel):
    """The environments of a sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pool: str | None = None
    """In place of ``environments``: the pool of the only one."""
    environments: dict[str, ArlEnvironmentConfig] = Field(default_factory=dict)
    """By name; the first is the default one."""
    namespace: str | None = None
    """Otherwise that of the kubeconfig."""
    timeout: float = 3600
    """Seconds of idle time after which a Sandbox is deleted."""
    wait: float = 300
    """Seconds that a claim may take."""

    @classmethod
    def of(cls, config: SandboxEnvironmentConfigType | None) -> ArlSandboxConfig:
        """From what a task says: a configuration, the name of a YAML file, or that of a pool."""
        if isinstance(config, cls):
            return config
        if isinstance(config, str) and config:
            if Path(config).suffix not in (".yaml", ".yml"):
                # Inspect takes every text for a file, and has made a path of it.
                return cls(pool=Path(config).name)
            return cls._of_file(Path(config))
        raise ValueError('the sandbox "arl" needs a pool: sandbox=("arl", "python-pool"), or a YAML file')

    @classmethod
    def _of_file(cls, path: Path) -> ArlSandboxConfig:
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path} is no configuration of the sandbox arl: {error}") from error

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.pool is None) == (not self.environments):
            raise ValueError("it names a pool, or environments, and not both")
        return self

    def named(self) -> dict[str, ArlEnvironmentConfig]:
        """Its environments."""
        return self.environments or {"default": ArlEnvironmentConfig(pool=self.pool or "")}


@sandboxenv(name="arl")
class ArlSandboxEnvironment(SandboxEnvironment):
    """A Sandbox from a warm pool for each environment of each sample."""

    def __init__(self, sandbox: AsyncSandbox, user: str | None = None) -> None:
        super().__init__()
        self.sandbox = sandbox
        """What it stands on."""
        self._user = user

    @classmethod
    async def sample_init(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """Claims a Sandbox for each environment, all at once. Where one cannot be had, none is kept."""
        settings = ArlSandboxConfig.of(config)
        client = AsyncClient.default(settings.namespace)

        async def claim(wanted: ArlEnvironmentConfig) -> SandboxEnvironment:
            sandbox = await client.acquire(
                wanted.pool, envs=wanted.envs, timeout=settings.timeout, wait=settings.wait
            )
            return cls(sandbox, wanted.user)

        named = settings.named()
        claims = [asyncio.ensure_future(claim(wanted)) for wanted in named.values()]
        try:
            return dict(zip(named, await asyncio.gather(*claims), strict=True))
        except BaseException as error:
            for task in claims:
                task.cancel()
            with anyio.CancelScope(shield=True):
                claimed = await asyncio.gather(*claims, return_exceptions=True)
                await cls._kill(one for one in claimed if isinstance(one, cls))
            if isinstance(error, ArlError) and error.fault == "infrastructure":
                raise SandboxUnavailableError(str(error)) from error
            raise

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """Gives the Sandboxes up, of samples that were interrupted too. Where that fails the sample stands: they go once they were idle."""
        with anyio.CancelScope(shield=True):
            await cls._kill(environment.as_type(cls) for environment in environments.values())

    @staticmethod
    async def _kill(environments: Any) -> None:
        await asyncio.gather(*[one.sandbox.client._let_go([one.sandbox]) for one in environments])

    @classmethod
    async def cli_cleanup(cls, id: str | None) -> None:
        """``inspect sandbox cleanup arl RUN_ID``: deletes what a run left."""
        if id is None:
            print("say which run: the value of the label arl.infra.io/run-id of its Sandboxes")
            return
        client = AsyncClient.default()
        count = await client.reap(id)
        print(f"deleted {count} Sandboxes of run {id} in namespace {await client.namespace()}, that of the kubeconfig")

    @classmethod
    def config_files(cls) -> list[str]:
        """Beside the task."""
        return ["arl.yaml"]

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """From a log."""
        return ArlSandboxConfig.model_validate(config)

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Runs a command. A timeout is the command's own and not of the way to it, so that it is not tried again."""
        _check_nul(*cmd)
        limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
        try:
            done = await self.sandbox.commands.run(
                cmd, stdin=input, cwd=cwd, env=env, user=user or self._user, timeout=timeout, keep=limit
            )
        except ArlError as error:
            return _not_run(error, cmd)
        if done.timed_out:
            raise _timeout(f"{cmd[0]} was ended after {timeout} s", done)
        if max(done.printed) > limit:
            output = done.stdout + done.stderr
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR, output)
        if done.gaps:
            # What is left is not the output of the command: a scorer would judge it as if it were.
            raise SandboxUnavailableError(f"{cmd[0]} exited with {done.exit_code}, but {done.lost} bytes of its output were lost on the way")
        return ExecResult(done.ok, done.exit_code, done.stdout, done.stderr)

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Writes a file, all of it or not at all."""
        _check_nul(file)
        try:
            await self.sandbox.files.write(file, contents, user=self._user)
        except ArlError as error:
            _unavailable(error)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        """The content of a file."""
        _check_nul(file)
        limit = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE
        try:
            content = await self.sandbox.files.read(file, format="bytes", user=self._user, length=limit + 1)
        except ArlError as error:
            _unavailable(error)
        if len(content) > limit:
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None)
        return content.decode() if text else content

    async def connection(self, *, user: str | None = None) -> SandboxConnection:
        """A shell in it. Kubernetes' exec knows no users."""
        if user is not None:
            raise NotImplementedError("kubectl exec starts shells as the container's own user")
        sandbox = self.sandbox
        namespace = await sandbox.client.namespace()
        container = f" -c {sandbox.container}" if sandbox.container else ""
        command = f"kubectl exec -it -n {namespace} {sandbox.pod}{container} -- sh"
        return SandboxConnection(type="arl", command=command, container=sandbox.pod)

    def default_polling_interval(self) -> float:
        """Commands take milliseconds."""
        return 0.2


def _check_nul(*names: str) -> None:
    """What Python itself says of such a name, which Inspect tells the model."""
    if any("\0" in name for name in names):
        raise ValueError("embedded null byte")


def _timeout(message: str, done: CommandResult) -> TimeoutError:
    """With what was printed, where Inspect looks for it."""
    error = TimeoutError(message)
    printed = done.stdout + done.stderr
    if done.gaps:
        printed += f"\n[{done.lost} bytes of the output were lost on the way]"
    if printed:
        setattr(error, "truncated_output", printed)
    return error


def _unavailable(error: ArlError) -> NoReturn:
    """What the code in the Sandbox did is told as Python's own exceptions, which file errors are."""
    if isinstance(error, NotDirectoryError):
        # Inspect knows no other name for it.
        raise FileNotFoundError(str(error)) from error
    if error.fault == "infrastructure" or isinstance(error, AgentUnusableError):
        raise SandboxUnavailableError(str(error)) from error
    raise error


def _not_run(error: ArlError, cmd: list[str]) -> ExecResult[str]:
    """A command that was not started is a failed one, as in a shell, unless Inspect knows better."""
    if not isinstance(error, RemoteError) or error.fault == "infrastructure":
        _unavailable(error)
    if error.kind in ("no_such_user", "cannot_switch_user"):
        raise SandboxUserUnsupportedError(str(error)) from error
    if isinstance(error, AccessDeniedError) or error.kind == "not_executable":
        raise PermissionError(f"{cmd[0]}: {error}") from error
    if error.kind == "lost":
        raise error
    return ExecResult(False, NOT_FOUND if error.kind == "not_found" else NOT_STARTED, "", str(error))
