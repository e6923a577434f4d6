"""How many commands a second one process runs: arl-sandbox, the Rust client and the Kubernetes client for Python, in turns, in the same Sandboxes.

usage: bench.py [--sandboxes 200] [--commands 20] [--rounds 3] [--side-by-side 32]

Needs the local cluster (`make cluster-up`), a release build of the operator, of the example `throughput` and of the package, and the
distribution `kubernetes`: `make bench-python` sees to all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from arl_sandbox import AsyncClient, AsyncSandbox
from kubernetes import client as kubernetes
from kubernetes import config, stream

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "python/tests"))
os.environ.setdefault("ARL_OPERATOR", str(ROOT / "target/release/arl-operator"))

from world import World, kubectl  # noqa: E402

RUST = ROOT / "target/release/examples/throughput"
SHELL = ["sh", "-c", "true"]


def room() -> int:
    """Pods that the nodes have room for, with a few left for others."""
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    pods = json.loads(kubectl("get", "pods", "-A", "-o", "json"))["items"]
    used = sum(pod["status"].get("phase") not in ("Succeeded", "Failed") for pod in pods)
    return sum(int(node["status"]["allocatable"]["pods"]) for node in nodes) - used - 20


def memory() -> float:
    """The most that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def at_once(sandboxes: list[AsyncSandbox], commands: int) -> float:
    """Commands a second, all of them at once; each must succeed."""
    began = time.perf_counter()
    done = await asyncio.gather(*(each.commands.run("true") for each in sandboxes for _ in range(commands)))
    assert all(result.ok for result in done)
    return len(done) / (time.perf_counter() - began)


async def rust(world: World, names: list[str], commands: int) -> float:
    """The same by the Rust client."""
    environment = {**os.environ, "KUBECONFIG": world.kubeconfig}
    arguments = [str(RUST), str(commands), *names]
    done = await asyncio.to_thread(subprocess.run, arguments, env=environment, capture_output=True, check=True)
    result = json.loads(done.stdout)
    assert result["failed"] == 0, result
    return float(result["commands"] / result["seconds"])


def by_threads(world: World, pods: list[str], commands: int) -> float:
    """By the Kubernetes client: a thread for each Sandbox, each with a client of its own."""

    def work(pod: str) -> None:
        api = kubernetes.CoreV1Api(config.new_client_from_config(world.kubeconfig))
        for _ in range(commands):
            opened = stream.stream(
                api.connect_get_namespaced_pod_exec,
                pod,
                world.namespace,
                container="executor",
                command=SHELL,
                stdout=True,
                stderr=True,
                _preload_content=False,
            )
            opened.run_forever(timeout=60)
            assert opened.returncode == 0

    with ThreadPoolExecutor(len(pods)) as threads:
        began = time.perf_counter()
        list(threads.map(work, pods))
        return len(pods) * commands / (time.perf_counter() - began)


async def measure(world: World, flags: argparse.Namespace) -> None:
    count = min(flags.sandboxes, room())
    if count < flags.sandboxes:
        print(f"the nodes have room for {count} Sandboxes, not for {flags.sandboxes}")
    # Pods are made as Sandboxes ask for them: an idle one for each claim would be as many again.
    world.create(
        {
            "apiVersion": "arl.infra.io/v1alpha1",
            "kind": "WarmPool",
            "metadata": {"name": "p"},
            "spec": {"replicas": 0, "scaling": {"maxReplicas": count, "maxPods": count}, "template": template()},
        }
    )
    async with AsyncClient(kubeconfig=world.kubeconfig) as client:
        began = time.perf_counter()
        sandboxes = await asyncio.gather(*(client.acquire("p", wait=900) for _ in range(count)))
        print(f"{count} Sandboxes claimed in {time.perf_counter() - began:.0f} s; {memory():.0f} MB")
        names = [each.name for each in sandboxes]
        await at_once(sandboxes, 1)
        rates: dict[str, list[float]] = {"arl-sandbox": [], "the Rust client": []}
        for _ in range(flags.rounds):
            rates["arl-sandbox"].append(await at_once(sandboxes, flags.commands))
            rates["the Rust client"].append(await rust(world, names, flags.commands))
        tell(f"{count} Sandboxes, {flags.commands} commands each, all at once", rates)
        print(f"memory of the Python process: {memory():.0f} MB at most")
        few = sandboxes[: flags.side_by_side]
        bound = {item["metadata"]["name"]: item["status"]["podName"] for item in world.get("sandboxes")}
        pods = [bound[each.name] for each in few]
        rates = {"arl-sandbox": [], "the Kubernetes client": []}
        for _ in range(flags.rounds):
            rates["arl-sandbox"].append(await at_once(few, flags.commands))
            rates["the Kubernetes client"].append(await asyncio.to_thread(by_threads, world, pods, 4))
        tell(f"{len(few)} Sandboxes", rates)


def template() -> dict[str, object]:
    """As small as a pod gets."""
    container = {
        "name": "executor",
        "image": "busybox:1",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "2147483647"],
    }
    return {"spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}


def tell(what: str, rates: dict[str, list[float]]) -> None:
    """The rates, and how much the first is of the second, round by round."""
    print(what)
    for name, each in rates.items():
        print(f"  {name}: {statistics.median(each):.0f} commands/s (rounds: {', '.join(f'{rate:.0f}' for rate in each)})")
    ratios = [one / other for one, other in zip(*rates.values(), strict=True)]
    print(f"  the first by the second: {statistics.median(ratios):.2f} (median of the rounds)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sandboxes", type=int, default=200)
    parser.add_argument("--commands", type=int, default=20, help="in each Sandbox")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side-by-side", type=int, default=32, help="Sandboxes beside the Kubernetes client")
    world = World("bench")
    try:
        asyncio.run(measure(world, parser.parse_args()))
    finally:
        world.close(failed=sys.exc_info()[0] is not None)


if __name__ == "__main__":
    main()
