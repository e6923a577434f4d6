"""The package itself: how it is built and installed, and how its modules hang together. Needs no cluster."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import venv
from graphlib import TopologicalSorter
from pathlib import Path

from world import ROOT

PACKAGE = ROOT / "python/arl_sandbox"


def test_import_brings_nothing_but_the_standard_library() -> None:
    # So that it is quick: under 0.1 s on an idle machine.
    program = """
import sys
before = set(sys.modules)
import arl_sandbox
print({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "{'arl_sandbox'}\n"


def imports(path: Path, module: list[str]) -> set[str]:
    """The modules of the package that a module imports: anywhere in it, for types too."""
    package = module if path.name == "__init__.py" else module[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        parts = [*package[: len(package) + 1 - node.level], *(node.module or "").split(".")]
        for name in [".".join(filter(None, parts))] if node.module else [".".join([*filter(None, parts), one.name]) for one in node.names]:
            found.add(name)
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        module = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        if module[-1] == "__init__":
            module.pop()
        graph[".".join(module)] = imports(path, module)
    assert "arl_sandbox._async.sandbox" in graph["arl_sandbox._async.client"]
    list(TopologicalSorter(graph).static_order())


def test_pip_installs_it_into_a_new_environment(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    # As everybody would; but for the optimisations, which take minutes.
    variables = {**os.environ, "MATURIN_PEP517_ARGS": "--profile dev"}
    install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ROOT / "python"]
    done = subprocess.run(install, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    program = "import arl_sandbox as package; print(package.__file__, package.__version__, package.Client().run_id)"
    told = subprocess.check_output([python, "-c", program], cwd="/", text=True).split()
    assert Path(told[0]).is_relative_to(tmp_path) and len(told) == 3
    assert (Path(told[0]).parent / "py.typed").exists()
