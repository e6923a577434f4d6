"""Sandboxes for Harbor: ``harbor run -e arl_sandbox.harbor:ArlEnvironment``.

A task runs in the image that its ``docker_image`` names: in a Sandbox of the pool that is given for that image (``--ek pools='{"image": "pool"}'``) or
for all (``--ek pool=NAME``), otherwise of a pool that is made for it. See :class:`ArlOptions` and docs/python.md.
"""

from __future__ import annotations

import asyncio
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harbor.environments.base import BaseEnvironment, ExecResult, OutputStream, transfer_tar_filter
from harbor.environments.capabilities import EnvironmentCapabilities, EnvironmentResourceCapabilities
from harbor.environments.definition import COMPOSE_FILE_NAME, DOCKERFILE_NAME
from harbor.environments.options import EnvironmentOptions
from harbor.models.trial.config import ResourceMode
from pydantic import Field

from ._archives import Keeper
from ._async.client import AsyncClient
from ._async.sandbox import AsyncSandbox
from ._harbor_pools import Pools

TIMED_OUT = 124
"""What a command exits with that its timeout ended, as with timeout(1)."""


class ArlOptions(EnvironmentOptions):
    """What may be given by ``--ek``, or in a job's ``environment.kwargs``."""

    pool: str | None = Field(None, description="The pool of all tasks.")
    pools: dict[str, str] = Field({}, description="The pools of images, by the docker_image of a task.")
    pool_size: int = Field(8, ge=1, le=64, description="The most idle pods of a pool that is made for an image.")
    namespace: str | None = Field(None, description="Otherwise that of the kubeconfig.")
    kubeconfig: str | None = Field(None, description="A path; otherwise that of the environment, or in a pod its ServiceAccount.")
    context: str | None = Field(None, description="Of the kubeconfig.")
    run_id: str | None = Field(None, description="The label arl.infra.io/run-id of all that is made; otherwise a new one.")
    timeout: float = Field(3600, description="Seconds of idle time after which a Sandbox is deleted.")
    wait: float = Field(600, description="Seconds that a claim may take.")


class ArlEnvironment(BaseEnvironment):
    """The container of a trial: one Sandbox."""

    options_model = ArlOptions
    options: ArlOptions

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        options = self.options
        self._client, self._pools = _shared(options.kubeconfig, options.context, options.namespace, options.run_id)
        self._made_pool: str | None = None
        self._sandbox: AsyncSandbox | None = None
        self._shell = "sh"

    @staticmethod
    def type() -> str:
        return "arl"

    @property
    def capabilities(self) -> EnvironmentCapabilities:
        """None of them: the network of a pod, and its devices, are its pool's."""
        return EnvironmentCapabilities()

    @classmethod
    def resource_capabilities(cls) -> EnvironmentResourceCapabilities:
        """What a pool that is made for an image can do. Of one that is given, its template decides: see :meth:`_validate_definition`."""
        return EnvironmentResourceCapabilities(
            cpu_limit=True, cpu_request=True, memory_limit=True, memory_request=True, fractional_cpus=True
        )

    def _validate_definition(self) -> None:
        image = self.task_env_config.docker_image
        if (self.environment_dir / COMPOSE_FILE_NAME).exists():
            raise ValueError(f"{self.environment_dir} has a {COMPOSE_FILE_NAME}, and a Sandbox is one container")
        if self._given_pool() is not None:
            enforced = [self._cpu_resource_mode, self._memory_resource_mode]
            if any(mode not in (ResourceMode.AUTO, ResourceMode.IGNORE) for mode in enforced):
                raise ValueError("the template of a pool decides on its resources; give no pool, and one is made with the task's")
        elif image is None:
            raise ValueError(
                f"{self.environment_dir} names no docker_image, and images are not built here: push the image of its {DOCKERFILE_NAME}, "
                "and name it as [environment].docker_image in task.toml, or give a pool of it (--ek pool=NAME)"
            )

    def _given_pool(self) -> str | None:
        image = self.task_env_config.docker_image
        return self.options.pools.get(image or "", self.options.pool)

    async def start(self, force_build: bool) -> None:
        """Claims a Sandbox. Where its beginning fails, nothing is left of it."""
        if force_build and (self.environment_dir / DOCKERFILE_NAME).exists():
            raise ValueError("images are not built here; leave out --force-build")
        try:
            pool = self._given_pool()
            if pool is None:
                pool = self._made_pool = await self._pools.use(self._template(), self.options.pool_size)
            self._sandbox = await self._client.acquire(pool, timeout=self.options.timeout, wait=self.options.wait)
            await self._prepare()
        except BaseException:
            await asyncio.shield(self.stop(delete=True))
            raise

    async def _prepare(self) -> None:
        bash = await self._claimed.commands.run("command -v bash")
        self._shell = "bash" if bash.ok else "sh"
        if self.task_env_config.workdir:
            await self._claimed.files.make_dir(self.task_env_config.workdir)
        await self.ensure_dirs(self._mount_targets(writable_only=True))
        await self._upload_environment_dir_after_start()

    def _template(self) -> dict[str, Any]:
        """Of the pods of the pool that is made for this task."""
        resources: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
        for kind, of_mode in (("requests", self._resource_request_value), ("limits", self._resource_limit_value)):
            cpus, memory = (of_mode(what, auto_mode=ResourceMode.LIMIT) for what in ("cpu", "memory"))
            if cpus is not None:
                resources[kind]["cpu"] = f"{round(cpus * 1000)}m"
            if memory is not None:
                resources[kind]["memory"] = f"{memory}Mi"
        if self._effective_storage_mb is not None:
            resources["limits"]["ephemeral-storage"] = f"{self._effective_storage_mb}Mi"
        image = self.task_env_config.docker_image
        executor = {"name": "executor", "image": image, "command": ["sleep", "infinity"], "resources": resources}
        return {"spec": {"containers": [executor]}}

    async def stop(self, delete: bool) -> None:
        """Gives the Sandbox up, and the pool that was made for it once nobody uses it. Where it is not to be deleted, it is left to its idle time."""
        sandbox, self._sandbox = self._sandbox, None
        pool, self._made_pool = self._made_pool, None
        try:
            if sandbox is not None and delete:
                await sandbox.kill()
            elif sandbox is not None:
                self.logger.info(f"Sandbox {sandbox.name} is kept until it was idle for {self.options.timeout} s")
        finally:
            if pool is not None:
                await self._pools.leave(pool)

    @property
    def _claimed(self) -> AsyncSandbox:
        if self._sandbox is None:
            raise RuntimeError("this environment was not started, or is stopped")
        return self._sandbox

    async def exec(
        self,
        command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_sec: int | None = None,
        user: str | int | None = None,
    ) -> ExecResult:
        """Runs a script in bash, or in sh where the image has no bash. One that its timeout ended exits with 124."""
        who = self._resolve_user(user)
        done = await self._claimed.commands.run(
            [self._shell, "-c", command],
            cwd=cwd or self.task_env_config.workdir,
            envs=self._merge_env(env),
            user=None if who is None else str(who),
            timeout=timeout_sec,
            on_stdout=self._callback("stdout"),
            on_stderr=self._callback("stderr"),
        )
        notes = [f"[{done.lost} bytes of the output were lost on the way]"] if done.gaps else []
        if done.timed_out:
            notes.append(f"the command was ended after {timeout_sec} s")
        stderr = "\n".join([done.stderr, *notes]).lstrip() if notes else done.stderr
        code = TIMED_OUT if done.timed_out else done.exit_code
        return ExecResult(stdout=done.stdout, stderr=stderr, return_code=code)

    def _callback(self, stream: OutputStream) -> Callable[[str], object] | None:
        emit = self._output_callback()
        return None if emit is None else lambda text: emit(text, stream)

    async def upload_file(self, source_path: Path | str, target_path: str) -> None:
        source = Path(source_path)
        with source.open("rb") as content:
            await self._claimed.files.write(target_path, content, mode=source.stat().st_mode & 0o777)

    async def upload_dir(self, source_dir: Path | str, target_dir: str) -> None:
        with tempfile.TemporaryFile() as archive:
            await asyncio.to_thread(_pack, Path(source_dir), archive)
            archive.seek(0)
            await self._claimed.files.unpack(target_dir, archive)

    async def download_file(self, source_path: str, target_path: Path | str) -> None:
        target = Path(target_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        pieces = await self._claimed.files.read(source_path, format="stream")
        with Keeper(target) as content:
            async for piece in pieces:
                content.write(piece)

    async def download_dir(self, source_dir: str, target_dir: Path | str) -> None:
        target = Path(target_dir)
        with tempfile.TemporaryFile() as archive:
            async for piece in self._claimed.files.pack(source_dir):
                archive.write(piece)
            archive.seek(0)
            await asyncio.to_thread(_unpack, archive, target)


def _pack(source: Path, archive: Any) -> None:
    """Links stay links; all belongs to root, as with docker cp. The directory's own mode is the target's affair."""

    def ours(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=archive, mode="w") as tar:
        for child in sorted(source.iterdir()):
            tar.add(child, arcname=child.name, filter=ours)


def _unpack(archive: Any, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=archive, mode="r:") as tar:
        tar.extractall(path=target, filter=transfer_tar_filter)


_SHARED: dict[tuple[str | None, ...], tuple[AsyncClient, Pools]] = {}


def _shared(
    kubeconfig: str | None, context: str | None, namespace: str | None, run_id: str | None
) -> tuple[AsyncClient, Pools]:
    """One client, with one watch, for all trials of a process."""
    key = (kubeconfig, context, namespace, run_id)
    if key not in _SHARED:
        client = AsyncClient(kubeconfig=kubeconfig, context=context, namespace=namespace, run_id=run_id)
        _SHARED[key] = (client, Pools(client))
    return _SHARED[key]
