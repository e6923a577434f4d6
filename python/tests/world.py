"""What every test stands on: a namespace of the local cluster, an operator confined to it, and a user with the documented rights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
LOGS = ROOT / "target" / "python-tests"
IMAGE = "busybox:1"
DEADLINE = 90.0
"""Seconds that anything may take which a test waits for."""

# Those of client/README.md.
RIGHTS = [
    {
        "apiGroups": ["arl.infra.io"],
        "resources": ["sandboxes", "tasks"],
        "verbs": ["create", "get", "list", "watch", "patch", "delete", "deletecollection"],
    },
    {"apiGroups": ["arl.infra.io"], "resources": ["warmpools"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]},
]

# For Harbor, where pools are made on demand.
POOLS = [{"apiGroups": ["arl.infra.io"], "resources": ["warmpools"], "verbs": ["create", "delete"]}]


def kubectl(*arguments: str, given: Any = None) -> str:
    """As the administrator; ``given``: objects on its standard input."""
    command = [str(ROOT / ".cluster/kubectl"), "--kubeconfig", str(ROOT / ".cluster/kubeconfig"), *arguments]
    text = None if given is None else json.dumps(given)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def until(ask: Callable[[], T | None], what: str, deadline: float = DEADLINE) -> T:
    """Asks again and again until there is an answer."""
    end = time.monotonic() + deadline
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(0.05)


@contextmanager
def ends_by_interrupt(interrupt: Callable[[], None]) -> Iterator[None]:
    """What is done here ends by a KeyboardInterrupt once `interrupt`, on a thread of its own, has called :func:`interrupt_us`."""

    def raises(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, raises)
    other = threading.Thread(target=interrupt)
    try:
        other.start()
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        other.join()
        signal.signal(signal.SIGUSR1, before)


def interrupt_us() -> None:
    """Interrupts the main thread, where :func:`ends_by_interrupt` waits for it."""
    os.kill(os.getpid(), signal.SIGUSR1)


def template(image: str = IMAGE, **container: Any) -> dict[str, Any]:
    """A pod whose executor has /workspace."""
    executor = {
        "name": "executor",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "2147483647"],
        "workingDir": "/workspace",
        "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
        **container,
    }
    return {"spec": {"containers": [executor], "volumes": [{"name": "workspace", "emptyDir": {}}]}}


class World:
    """A namespace with an operator of its own."""

    def __init__(self, name: str) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        for crd in ("warmpools", "sandboxes", "tasks"):
            self._apply(ROOT / f"crds/{crd}.yaml")
        kubectl("wait", "--for=condition=Established", "crd/sandboxes.arl.infra.io", "--timeout=60s")
        self._apply(ROOT / "deploy/kustomize/base/rbac.yaml", "--selector=app.kubernetes.io/name=arl-operator")
        wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": f"t-py-{name}-"}}
        made = kubectl("create", "-f", "-", "-o", "name", given=wanted)
        self.namespace = made.strip().removeprefix("namespace/")
        until(lambda: self._has_account("default"), "the namespace has its default account")
        for account in ("arl-operator", "user", "harbor", "nobody"):
            self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
        self._bind("arl-operator", "ClusterRole", "arl-operator")
        kind = "rbac.authorization.k8s.io/v1"
        for account, rules in (("user", RIGHTS), ("harbor", RIGHTS + POOLS)):
            self.create({"apiVersion": kind, "kind": "Role", "metadata": {"name": account}, "rules": rules})
            self._bind(account, "Role", account)
        self.kubeconfig = self.kubeconfig_of("user")
        self._operator = self._start_operator()

    def _apply(self, path: Path, *flags: str) -> None:
        kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=arl-tests", "-f", str(path), *flags)

    def _has_account(self, name: str) -> bool:
        return bool(kubectl("get", "-n", self.namespace, "serviceaccount", name, "--ignore-not-found", "-o", "name"))

    def _bind(self, account: str, kind: str, role: str) -> None:
        self.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": account},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": self.namespace}],
            }
        )

    def kubeconfig_of(self, account: str) -> str:
        """A kubeconfig that is this ServiceAccount, in the namespace."""
        token = kubectl("create", "-n", self.namespace, "token", account, "--duration=24h").strip()
        config = json.loads(kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
        config["users"] = [{"name": account, "user": {"token": token}}]
        for context in config["contexts"]:
            context["context"].update(user=account, namespace=self.namespace)
        path = LOGS / f"{self.namespace}.{account}.kubeconfig"
        path.write_text(json.dumps(config))
        return str(path)

    def _start_operator(self) -> subprocess.Popen[bytes]:
        log = (LOGS / f"{self.namespace}.log").open("ab")
        program = os.environ.get("ARL_OPERATOR", str(ROOT / "target/debug/arl-operator"))
        addresses = ["--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0"]
        kubeconfig = self.kubeconfig_of("arl-operator")
        command = [program, "--kubeconfig", kubeconfig, "--watch-namespaces", self.namespace, *addresses]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def create(self, *objects: dict[str, Any]) -> None:
        """Creates objects in the namespace."""
        for wanted in objects:
            kubectl("create", "-n", self.namespace, "-f", "-", given=wanted)

    def pool(self, name: str, replicas: int, pod: dict[str, Any] | None = None) -> str:
        """Makes a pool; does not wait for its pods."""
        spec = {"replicas": replicas, "template": pod or template()}
        self.create(
            {"apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "metadata": {"name": name}, "spec": spec}
        )
        return name

    def get(self, kind: str, *flags: str) -> list[dict[str, Any]]:
        """The objects of a kind."""
        return json.loads(kubectl("get", "-n", self.namespace, kind, "-o", "json", *flags))["items"]  # type: ignore[no-any-return]

    def sandboxes(self, run_id: str) -> list[str]:
        """The names of a run's Sandboxes."""
        return [item["metadata"]["name"] for item in self.get("sandboxes", "-l", f"arl.infra.io/run-id={run_id}")]

    def close(self, failed: bool) -> None:
        """Ends the operator and deletes the namespace; says first how a test left it."""
        if failed:
            print(f"=== {self.namespace} as the tests left it ===")
            print(kubectl("get", "-n", self.namespace, "warmpools,sandboxes,tasks,pods,events", "-o", "wide"))
            print((LOGS / f"{self.namespace}.log").read_text()[-8000:])
        self._operator.kill()
        self._operator.wait()
        kubectl("delete", "namespace", self.namespace, "--wait=false")
        for path in LOGS.glob(f"{self.namespace}.*.kubeconfig"):
            path.unlink()
