"""A tool for verl's multi-turn rollouts: the model's code runs in a Sandbox that stays for the whole trajectory.

In verl's tool configuration: class_name: verl_tool.SandboxTool, config: {pool: python-pool, type: native}.
"""

from typing import Any
from uuid import uuid4

from arl_sandbox import ArlError, AsyncClient, AsyncSandbox
from verl.tools.base_tool import BaseTool
from verl.tools.schemas import ToolResponse


class SandboxTool(BaseTool):
    """Runs shell commands."""

    def __init__(self, config: dict[str, Any], tool_schema: Any) -> None:
        super().__init__(config, tool_schema)
        self.client = config.get("client") or AsyncClient(namespace=config.get("namespace"))
        self.sandboxes: dict[str, AsyncSandbox] = {}

    async def create(self, instance_id: str | None = None, **kwargs: Any) -> tuple[str, ToolResponse]:
        instance_id = instance_id or str(uuid4())
        self.sandboxes[instance_id] = await self.client.acquire(self.config["pool"])
        return instance_id, ToolResponse()

    async def execute(self, instance_id: str, parameters: dict[str, Any], **kwargs: Any) -> tuple[ToolResponse, float, dict[str, Any]]:
        try:
            done = await self.sandboxes[instance_id].commands.run(parameters["command"], timeout=self.config.get("timeout", 30))
        except ArlError as error:
            if error.fault == "infrastructure":
                raise
            return ToolResponse(text=str(error)), 0.0, {}
        text = f"{done.stdout}{done.stderr}" + ("\n(timed out)" if done.timed_out else "")
        return ToolResponse(text=text), 0.0, {"exit_code": done.exit_code}

    async def release(self, instance_id: str, **kwargs: Any) -> None:
        await self.sandboxes.pop(instance_id).kill()
