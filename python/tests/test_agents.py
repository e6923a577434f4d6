"""What agents and trainers use: the environment of mini-swe-agent, and the recipes in examples/python."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from arl_sandbox import AsyncClient, PodLostError
from arl_sandbox.mini_swe_agent import ArlEnvironment
from minisweagent.environments import get_environment
from minisweagent.exceptions import Submitted
from world import ROOT, World, kubectl


def recipe(name: str) -> Any:
    """A module of examples/python."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"examples/python/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mini_swe_agent_works_in_a_sandbox(world: World) -> None:
    settings = {"pool": "p", "kubeconfig": world.kubeconfig, "interpreter": ["sh", "-c"], "env": {"A": "a"}}
    environment = get_environment({"environment_class": "arl_sandbox.mini_swe_agent.ArlEnvironment", **settings})
    assert isinstance(environment, ArlEnvironment)
    done = environment.execute({"command": "echo out; echo err >&2; echo $A; pwd; exit 3"})
    assert done == {"output": "out\nerr\na\n/workspace\n", "returncode": 3, "exception_info": ""}
    assert environment.execute({"command": "pwd"}, cwd="/tmp")["output"] == "/tmp\n"
    late = environment.execute({"command": "echo begun; sleep 100"}, timeout=1)
    assert (late["output"], late["returncode"], late["extra"]["exception_type"]) == ("begun\n", -1, "TimeoutError")
    with pytest.raises(Submitted):
        environment.execute({"command": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo diff"})
    assert environment.serialize()["info"]["config"]["environment"]["pool"] == "p"
    assert environment.get_template_vars(x=1)["x"] == 1
    kubectl("delete", "-n", world.namespace, "pod", environment.sandbox.pod, "--grace-period=0", "--force")
    with pytest.raises(PodLostError):
        environment.execute({"command": "sleep 1000"}, timeout=60)
    environment.cleanup()
    assert not world.sandboxes(environment.sandbox.client.run_id)


async def test_the_recipe_of_a_training_loop(world: World, async_client: AsyncClient) -> None:
    means = await recipe("rl_loop").main("p", async_client)
    assert len(means) == 4 and all(0 <= mean <= 1 for mean in means) and 0 < sum(means)
    assert not world.sandboxes(async_client.run_id)


async def test_the_recipe_of_a_verl_tool(
    world: World, async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # verl itself brings a whole training stack: these are the two classes that a tool of it stands on.
    class BaseTool:
        def __init__(self, config: dict[str, Any], tool_schema: Any) -> None:
            self.config, self.tool_schema = config, tool_schema

    modules: dict[str, dict[str, Any]] = {
        "verl": {},
        "verl.tools": {},
        "verl.tools.base_tool": {"BaseTool": BaseTool},
        "verl.tools.schemas": {"ToolResponse": SimpleNamespace},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    tool = recipe("verl_tool").SandboxTool({"pool": "p", "client": async_client, "timeout": 1}, None)
    instance, _ = await tool.create()
    await tool.execute(instance, {"command": "echo kept >state"})
    response, reward, metrics = await tool.execute(instance, {"command": "cat state; exit 2"})
    assert (response.text, reward, metrics) == ("kept\n", 0.0, {"exit_code": 2})
    late, _, _ = await tool.execute(instance, {"command": "sleep 100"})
    assert "timed out" in late.text
    await tool.release(instance)
    assert not world.sandboxes(async_client.run_id)
