"""The adapter for Inspect: its own conformance suite, and an evaluation."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from arl_sandbox import AsyncClient, PodLostError, PoolNotFoundError
from arl_sandbox.inspect import ArlSandboxConfig, ArlSandboxEnvironment
from inspect_ai import Task, eval_async
from inspect_ai.dataset import Sample
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import SandboxEnvironment, SandboxUnavailableError, sandbox
from inspect_ai.util._sandbox.self_check import *  # noqa: F403
from world import World, kubectl, template, until

# The checks that need what an image, or its user, lacks.
ROOT_MAY = "root may read and write every file"
ABSENT = {
    "root": {
        "test_exec_as_user": "the image has no adduser",
        "test_read_file_not_allowed": ROOT_MAY,
        "test_write_binary_file_without_permissions": ROOT_MAY,
        "test_write_text_file_without_permissions": ROOT_MAY,
    },
    "user": {"test_exec_as_user": "a container whose user is not root cannot become root"},
}


@pytest.fixture
def default_client(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncClient:
    """What the adapter uses by itself."""
    client = AsyncClient(kubeconfig=world.kubeconfig)
    monkeypatch.setattr(AsyncClient, "default", lambda namespace=None: client)
    return client


@pytest.fixture(scope="module")
def environments(world: World) -> Iterator[dict[str, SandboxEnvironment]]:
    """Of ``root``, whose user is root, and ``user``, whose user is 1000; for all of Inspect's checks."""
    user = template()
    user["spec"]["securityContext"] = {"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True, "fsGroup": 1000}
    world.pool("user", 1, user)
    config = ArlSandboxConfig.model_validate({"environments": {"root": {"pool": "p"}, "user": {"pool": "user"}}})
    client = AsyncClient(kubeconfig=world.kubeconfig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AsyncClient, "default", lambda namespace=None: client)
        made = asyncio.run(ArlSandboxEnvironment.sample_init("check", config, {}))
    yield made
    asyncio.run(ArlSandboxEnvironment.sample_cleanup("check", config, made, False))
    assert not world.sandboxes(client.run_id)


@pytest.fixture(params=["root", "user"])
async def sandbox_env(
    request: pytest.FixtureRequest, environments: dict[str, SandboxEnvironment]
) -> SandboxEnvironment:
    """For Inspect's checks."""
    reason = ABSENT[request.param].get(request.node.originalname)
    if reason is not None:
        request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    return environments[request.param]


def test_the_name_of_a_pool_is_not_a_file() -> None:
    # Inspect makes a path of every text.
    assert ArlSandboxConfig.of("python-pool").pool == "python-pool"
    assert ArlSandboxConfig.of("/home/somebody/python-pool").pool == "python-pool"


@pytest.mark.parametrize("text", ["", "a: [", "pool: [p]", "pool: p\nenvironments: {e: {pool: p}}", "namespace: n", "environments: {e: {}}", "pole: p"])
def test_a_configuration_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    config = tmp_path / "arl.yaml"
    with pytest.raises(ValueError, match="arl.yaml"):
        ArlSandboxConfig.of(str(config))
    config.write_text(text)
    with pytest.raises(ValueError, match="arl.yaml"):
        ArlSandboxConfig.of(str(config))


@solver
def works() -> Solver:
    """Uses both environments of its sample."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        await sandbox().write_file("input", state.input_text)
        await sandbox("second").exec(["sh", "-c", "cat >seen"], input=state.input_text)
        return await generate(state)

    return solve


@scorer(metrics=[accuracy()])
def is_there() -> Scorer:
    """Whether the files are."""

    async def score(state: TaskState, target: Target) -> Score:
        first = await sandbox().read_file("input")
        second = (await sandbox("second").exec(["cat", "seen"])).stdout
        return Score(value=first == second == target.text)

    return score


def mock() -> Model:
    answers = [ModelOutput.from_content("mockllm/model", "done") for _ in range(100)]
    for answer in answers:
        # Otherwise the mock model counts tokens, by a table that it fetches.
        answer.usage = ModelUsage()
    return get_model("mockllm/model", custom_outputs=answers)


@pytest.mark.parametrize("fails", [False, True])
async def test_an_evaluation_leaves_no_sandbox(
    world: World, default_client: AsyncClient, tmp_path: Path, fails: bool
) -> None:
    @solver
    def breaks() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            raise RuntimeError("the solver broke")

        return solve

    config = tmp_path / "arl.yaml"
    config.write_text("environments:\n  default: {pool: p}\n  second: {pool: p, envs: {A: a}}\n")
    samples = [Sample(input=f"sample {n}", target=f"sample {n}") for n in range(2 if fails else 10)]
    task = Task(samples, solver=[works(), breaks()] if fails else works(), scorer=is_there(), sandbox=("arl", str(config)))
    (log,) = await eval_async(task, model=mock(), log_dir=str(tmp_path), max_samples=10, max_sandboxes=20)
    if fails:
        assert log.status == "error"
    else:
        assert log.status == "success", log.error
        assert log.results is not None
        assert log.results.scores[0].metrics["accuracy"].value == 1
    assert not world.sandboxes(default_client.run_id)


@pytest.fixture
def alone(world: World) -> Iterator[str]:
    """A pool that no other test has Sandboxes of."""
    yield world.pool("alone", 15)
    kubectl("delete", "-n", world.namespace, "warmpool", "alone", "--wait=false")


def of_pool(world: World, pool: str) -> list[str]:
    """The names of its Sandboxes."""
    return [item["metadata"]["name"] for item in world.get("sandboxes") if item["spec"]["poolRef"] == pool]


async def test_fifty_samples_at_once_leave_no_sandbox(
    world: World, default_client: AsyncClient, alone: str, tmp_path: Path
) -> None:
    all_there = asyncio.Barrier(50)

    @solver
    def meets() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            await sandbox().write_file("input", state.input_text)
            await all_there.wait()
            state = await generate(state)
            state.output.completion = (await sandbox().exec(["cat", "input"])).stdout
            return state

        return solve

    samples = [Sample(input=f"sample {n}", target=f"sample {n}") for n in range(50)]
    task = Task(samples, solver=meets(), sandbox=("arl", alone))
    (log,) = await eval_async(task, model=mock(), log_dir=str(tmp_path), max_samples=50, max_sandboxes=50)
    assert log.status == "success", log.error
    assert log.samples is not None
    assert [sample.output.completion for sample in log.samples] == [sample.target for sample in log.samples]
    assert len(log.samples) == 50
    assert not world.sandboxes(default_client.run_id) and not of_pool(world, alone)


LONG = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.solver import solver
from inspect_ai.util import sandbox

@solver
def waits():
    async def solve(state, generate):
        await sandbox().exec(["sleep", "1000"])
        return state
    return solve

@task
def long():
    return Task([Sample(input=str(n)) for n in range(6)], solver=waits(), sandbox=("arl", "alone"))
"""


def test_interrupted_it_leaves_no_sandbox(world: World, alone: str, tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text(LONG)
    command = [str(Path(sys.executable).parent / "inspect"), "eval", "long.py", "--model", "mockllm/model", "--display", "plain"]
    variables = {**os.environ, "KUBECONFIG": world.kubeconfig, "INSPECT_LOG_DIR": str(tmp_path)}
    program = subprocess.Popen(
        command, cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    until(lambda: len(of_pool(world, alone)) == 6, "all samples have begun")
    program.send_signal(signal.SIGINT)
    output, _ = program.communicate(timeout=120)
    assert not of_pool(world, alone), output


async def test_what_is_infrastructures_is_unavailable(world: World, default_client: AsyncClient) -> None:
    made = await ArlSandboxEnvironment.sample_init("lost", "p", {})
    environment = made["default"].as_type(ArlSandboxEnvironment)
    connection = await environment.connection()
    assert connection.command == f"kubectl exec -it -n {world.namespace} {environment.sandbox.pod} -c executor -- sh"
    kubectl("delete", "-n", world.namespace, "pod", environment.sandbox.pod, "--grace-period=0", "--force")
    with pytest.raises(SandboxUnavailableError) as lost:
        await environment.exec(["sleep", "1000"], timeout=60)
    assert isinstance(lost.value.__cause__, PodLostError)
    await ArlSandboxEnvironment.sample_cleanup("lost", "p", made, True)
    with pytest.raises(PoolNotFoundError):
        await ArlSandboxEnvironment.sample_init("none", ArlSandboxConfig.model_validate(
            {"environments": {"default": {"pool": "p"}, "second": {"pool": "no-such-pool"}}}
        ), {})
    assert not world.sandboxes(default_client.run_id), "where one cannot be had, none is kept"
