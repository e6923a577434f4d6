"""The adapter for Harbor: tasks in its format, run by its own program with its oracle agent. Needs Python 3.12 and Harbor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("harbor", reason="Harbor needs Python 3.12; see the target test-harbor")

from arl_sandbox.harbor import ArlEnvironment, ArlOptions
from harbor.environments.factory import EnvironmentFactory
from harbor.models.task.config import EnvironmentConfig, NetworkMode, NetworkPolicy, TaskOS
from harbor.models.trial.config import ResourceMode
from harbor.models.trial.paths import TrialPaths
from world import IMAGE, World, until

HARBOR = Path(sys.executable).parent / "harbor"


def task(root: Path, name: str, solve: str, test: str, environment: str = "") -> Path:
    """A task in Harbor's format, in the directory ``root``."""
    folder = root / name
    for part in ("environment", "solution", "tests"):
        (folder / part).mkdir(parents=True)
    (folder / "task.toml").write_text(
        f'schema_version = "1.4"\n[task]\nname = "arl/{name}"\n[verifier]\ntimeout_sec = 120\n[agent]\ntimeout_sec = 120\n'
        f'[environment]\ndocker_image = "{IMAGE}"\n{environment}\n'
    )
    (folder / "instruction.md").write_text("See the solution.\n")
    (folder / "environment/given.txt").write_text("given\n")
    (folder / "solution/solve.sh").write_text(f"#!/bin/sh\nset -e\n{solve}\n")
    (folder / "tests/test.sh").write_text(
        f"#!/bin/sh\nif {test}; then echo 1; else echo 0; fi >/logs/verifier/reward.txt\n"
    )
    (folder / "tests/expected").write_text("given\nsolved\n")
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four that the oracle solves, each in its way."""
    root = tmp_path_factory.mktemp("tasks")
    same = "cmp /app/answer /tests/expected"
    work = 'workdir = "/app"'
    task(root, "files", "cat given.txt >answer; echo solved >>answer", same, work)
    task(root, "variables", 'echo "$WORD" >/tmp/word', 'test "$(cat /tmp/word)" = spoken', '[environment.env]\nWORD = "spoken"')
    task(root, "modes", "ln -s $(pwd)/helper /tmp/link; /tmp/link", "test -f /tmp/helped && test -h /tmp/link")
    helper = root / "modes/environment/helper"
    helper.write_text("#!/bin/sh\ntouch /tmp/helped\n")
    helper.chmod(0o755)
    limits = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    task(root, "bounded", f"cat {limits} 2>/dev/null >/tmp/max || true", 'test "$(cat /tmp/max)" = 67108864', "memory_mb = 64\ncpus = 0.1")
    return root


def harbor(tasks: Path, jobs: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    """The command, and its environment: without telemetry, and without a home whose settings say otherwise."""
    command = [str(HARBOR), "run", "--path", str(tasks), "--agent", "oracle", "--env", "arl_sandbox.harbor:ArlEnvironment"]
    variables = {"PATH": os.environ["PATH"], "HOME": str(jobs), "HARBOR_TELEMETRY": "0"}
    return [*command, "--jobs-dir", str(jobs), "--yes", "--quiet", *options], variables


def rewards(jobs: Path) -> list[Any]:
    """What each trial was worth; the exception of one that failed."""
    trials = [json.loads(path.read_text()) for path in jobs.glob("*/*/result.json")]
    return [trial["exception_info"] or trial["verifier_result"]["rewards"]["reward"] for trial in trials]


def left(world: World, run_id: str) -> list[str]:
    """The objects of a run."""
    items = world.get("sandboxes,warmpools", "-l", f"arl.infra.io/run-id={run_id}")
    return [f"{item['kind']}/{item['metadata']['name']}" for item in items]


@pytest.mark.parametrize("pool", ["given", "made"])
def test_the_oracle_is_right_everywhere_and_nothing_is_left(world: World, tasks: Path, tmp_path: Path, pool: str) -> None:
    run_id = f"harbor-{pool}"
    options = ["--n-concurrent", "4", "--n-attempts", "2", "--ek", f"kubeconfig={world.kubeconfig_of('harbor')}", "--ek", f"run_id={run_id}"]
    wanted = 4
    if pool == "given":
        # Its pods have the memory that their template says.
        options += ["--ek", json.dumps({IMAGE: "p"}).join(["pools=", ""]), "--exclude-task-name", "bounded"]
        wanted = 3
    command, variables = harbor(tasks, tmp_path, *options)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rewards(tmp_path) == [1.0] * 2 * wanted, done.stdout + done.stderr
    assert not left(world, run_id)


def test_interrupted_it_leaves_nothing(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    for number in range(3):
        task(folder, f"long-{number}", "touch /tmp/begun; sleep 1000", "true")
    options = ["--n-concurrent", "3", "--ek", f"kubeconfig={world.kubeconfig_of('harbor')}", "--ek", "run_id=interrupted"]
    command, variables = harbor(folder, tmp_path / "jobs", *options)
    (tmp_path / "jobs").mkdir()
    program = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: len([one for one in left(world, "interrupted") if "Sandbox" in one]) == 3, "all trials have begun")
    program.send_signal(signal.SIGINT)
    output, _ = program.communicate(timeout=120)
    assert not left(world, "interrupted"), output


def environment(folder: Path, config: EnvironmentConfig, **options: Any) -> ArlEnvironment:
    """As Harbor makes it."""
    paths = TrialPaths(trial_dir=folder / "trial")
    made = EnvironmentFactory.create_environment_from_import_path(
        "arl_sandbox.harbor:ArlEnvironment", folder, "t", "t__env", paths, config, **options
    )
    assert isinstance(made, ArlEnvironment)
    return made


def test_what_it_cannot_do_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    image = EnvironmentConfig(docker_image=IMAGE)
    with pytest.raises(ValueError, match="docker_image"):
        environment(tmp_path, EnvironmentConfig())
    environment(tmp_path, EnvironmentConfig(), pool="p")
    with pytest.raises(ValueError, match="no-network"):
        environment(tmp_path, image, network_policy=NetworkPolicy(network_mode=NetworkMode.NO_NETWORK))
    with pytest.raises(RuntimeError, match="GPU"):
        environment(tmp_path, EnvironmentConfig(docker_image=IMAGE, gpus=1))
    with pytest.raises((RuntimeError, ValueError), match="(?i)windows"):
        environment(tmp_path, EnvironmentConfig(docker_image=IMAGE, os=TaskOS.WINDOWS))
    with pytest.raises(ValueError, match="template"):
        environment(tmp_path, image, pool="p", memory_enforcement_policy=ResourceMode.LIMIT)
    with pytest.raises(ValueError, match="pool_sise"):
        environment(tmp_path, image, pool_sise=3)
    (tmp_path / "docker-compose.yaml").write_text("services: {}\n")
    with pytest.raises(ValueError, match="compose"):
        environment(tmp_path, image)


async def test_commands_and_files_are_as_harbor_wants_them(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    folder.mkdir()
    made = environment(folder, EnvironmentConfig(docker_image=IMAGE), pool="p", kubeconfig=world.kubeconfig)
    await made.start(force_build=False)
    try:
        done = await made.exec("echo out; echo err >&2; echo $A; exit 3", env={"A": "a"})
        assert (done.stdout, done.stderr, done.return_code) == ("out\na\n", "err\n", 3)
        late = await made.exec("echo begun; sleep 1000", timeout_sec=1)
        assert (late.stdout, late.return_code) == ("begun\n", 124) and "after 1 s" in (late.stderr or "")
        assert (await made.exec("id -u; pwd", user=1000, cwd="/tmp")).stdout == "1000\n/tmp\n"
        with made.with_default_user("nobody"):
            assert (await made.exec("id -un")).stdout == "nobody\n"
        seen: list[tuple[str, str]] = []

        async def callback(text: str, stream: str) -> None:
            seen.append((text, stream))

        with made.scoped_output_callback(callback):
            await made.exec("echo x; sleep 0.2; echo y >&2")
        assert seen == [("x\n", "stdout"), ("y\n", "stderr")]
        up = tmp_path / "up"
        (up / "empty").mkdir(parents=True)
        (up / "run").write_text("#!/bin/sh\necho ran\n")
        (up / "run").chmod(0o750)
        (up / "link").symlink_to("run")
        await made.upload_dir(up, "/srv/a b")
        assert (await made.exec("'/srv/a b/link'; stat -c '%a %u' '/srv/a b/run'")).stdout == "ran\n750 0\n"
        await made.download_dir("/srv/a b", tmp_path / "down")
        assert sorted(path.name for path in (tmp_path / "down").iterdir()) == ["empty", "link", "run"]
        assert (tmp_path / "down/link").is_symlink() and os.access(tmp_path / "down/run", os.X_OK)
        await made.upload_file(up / "run", "/new/place/run")
        assert await made.is_file("/new/place/run") and await made.is_dir("/new/place")
        await made.download_file("/new/place/run", tmp_path / "one/run")
        assert (tmp_path / "one/run").read_text() == "#!/bin/sh\necho ran\n"
    finally:
        await made.stop(delete=True)
        await made.stop(delete=True)
    with pytest.raises(RuntimeError, match="not started"):
        await made.exec("true")


async def test_a_pool_that_cannot_have_pods_is_told_at_once_and_removed(world: World, tmp_path: Path) -> None:
    config = EnvironmentConfig(docker_image="127.0.0.1:1/no-such-image:1")
    made = environment(tmp_path, config, kubeconfig=world.kubeconfig_of("harbor"), run_id="unpullable")
    began = time.monotonic()
    with pytest.raises(Exception, match="no-such-image"):
        await made.start(force_build=False)
    assert time.monotonic() - began < 60
    assert not left(world, "unpullable")


def test_its_options_are_told() -> None:
    assert {"pool", "pools", "pool_size", "run_id"} <= set(ArlOptions.model_json_schema()["properties"])
