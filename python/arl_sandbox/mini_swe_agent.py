"""Sandboxes for mini-swe-agent: ``environment_class: arl_sandbox.mini_swe_agent.ArlEnvironment``.

A failure that is the infrastructure's fault is raised, so that the instance can be tried again in another Sandbox; what a command does, its
timeout included, is an observation.
"""

from __future__ import annotations

import platform
import weakref
from typing import Any

from minisweagent.exceptions import Submitted
from minisweagent.utils.serialize import recursive_merge
from pydantic import BaseModel

from ._results import CommandResult
from ._sync.client import Client
from .errors import ArlError, TransferError

SUBMITTED = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
"""The first line of the output of a command that ends the agent's work."""


class ArlEnvironmentConfig(BaseModel):
    """Settings of an environment."""

    pool: str
    """The pool that its Sandbox is claimed from."""
    namespace: str | None = None
    """Otherwise that of the kubeconfig."""
    kubeconfig: str | None = None
    """A path; otherwise that of the environment, or in a pod its ServiceAccount."""
    cwd: str = ""
    """Otherwise the container's working directory."""
    env: dict[str, str] = {}
    """Variables for all commands."""
    user: str | None = None
    """Who commands are run as; otherwise the container's user."""
    timeout: int = 30
    """Seconds that a command may take."""
    interpreter: list[str] = ["bash", "-lc"]
    """What is given each command as its last argument."""
    idle_timeout: float = 3600
    """Seconds of idle time after which the Sandbox is deleted."""
    wait: float = 300
    """Seconds that the claim may take."""


class ArlEnvironment:
    """Claims a Sandbox when it is made, and gives it up in :meth:`cleanup`, which mini-swe-agent does not call: otherwise when nobody has the
    environment any more, or when the program ends."""

    def __init__(self, *, config_class: type[ArlEnvironmentConfig] = ArlEnvironmentConfig, **settings: Any) -> None:
        self.config = config = config_class(**settings)
        if config.kubeconfig is None:
            client = Client.default(config.namespace)
        else:
            client = Client(kubeconfig=config.kubeconfig, namespace=config.namespace)
        self.sandbox = client.acquire(config.pool, envs=config.env, timeout=config.idle_timeout, wait=config.wait)
        self._finalizer = weakref.finalize(self, self.sandbox.kill)

    def execute(self, action: dict[str, Any], cwd: str = "", *, timeout: int | None = None) -> dict[str, Any]:
        """Runs a command; both outputs as one, in the order in which they were printed."""
        limit = timeout or self.config.timeout
        # The script only joins the outputs.
        command = ["sh", "-c", 'exec "$@" 2>&1', "sh", *self.config.interpreter, action.get("command", "")]
        try:
            done = self.sandbox.commands.run(
                command, cwd=cwd or self.config.cwd or None, user=self.config.user, timeout=limit
            )
        except ArlError as error:
            if error.fault == "infrastructure":
                raise
            return _failed("", error)
        output = done.stdout
        if done.gaps:
            output += f"\n[{done.lost} bytes of this output were lost on the way]\n"
        if done.timed_out:
            return _failed(output, TimeoutError(f"it was ended after {limit} s"))
        self._check_finished(done)
        return {"output": output, "returncode": done.exit_code, "exception_info": ""}

    def _check_finished(self, done: CommandResult) -> None:
        first, _, submission = done.stdout.lstrip().partition("\n")
        if done.exit_code == 0 and first.strip() == SUBMITTED:
            if done.gaps:
                message = f"{done.lost} bytes of the submission were lost on the way"
                raise TransferError(message, fault="infrastructure", pod=self.sandbox.pod)
            extra = {"exit_status": "Submitted", "submission": submission}
            raise Submitted({"role": "exit", "content": submission, "extra": extra})

    def get_template_vars(self, **given: Any) -> dict[str, Any]:
        """What prompts may name."""
        return recursive_merge(self.config.model_dump(), platform.uname()._asdict(), given)

    def serialize(self) -> dict[str, Any]:
        """For the trajectory."""
        kind = f"{type(self).__module__}.{type(self).__name__}"
        config = self.config.model_dump(mode="json")
        return {"info": {"config": {"environment": config, "environment_type": kind}}}

    def cleanup(self) -> None:
        """Gives the Sandbox up."""
        self._finalizer()


def _failed(output: str, error: Exception) -> dict[str, Any]:
    return {
        "output": output,
        "returncode": -1,
        "exception_info": f"An error occurred while executing the command: {error}",
        "extra": {"exception_type": type(error).__name__, "exception": str(error)},
    }
