"""What is kept of what comes out of a Sandbox, and where; without a cluster, but for the last ones."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from arl_sandbox import Client, CommandResult, NotFoundError, Sandbox, UsageError
from arl_sandbox._archives import Keeper
from arl_sandbox._arguments import seconds
from arl_sandbox._async.files import _entry
from arl_sandbox._models import _GAPS_MAX, Collected


def test_a_file_is_replaced_once_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    target.write_bytes(b"before")
    target.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(InterruptedError), Keeper(link) as keeper:
        keeper.write(b"half")
        raise InterruptedError
    assert target.read_bytes() == b"before"
    with Keeper(link) as keeper:
        keeper.write(b"after")
        assert target.read_bytes() == b"before"
    assert (target.read_bytes(), target.stat().st_mode & 0o777, link.is_symlink()) == (b"after", 0o640, True)
    with pytest.raises(InterruptedError), Keeper(tmp_path / "new"):
        raise InterruptedError
    assert sorted(os.listdir(tmp_path)) == ["archive", "link"], "nothing else is left"


def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with pytest.raises(InterruptedError), Keeper(pipe) as keeper:
        keeper.write(b"piece")
        raise InterruptedError
    reader.join(20)
    assert (read, pipe.is_fifo()) == ([b"piece"], True)


@pytest.mark.parametrize(("seconds_since_1970", "year"), [(0.0, 1970), (999999999999.0, 9999), (-999999999999.0, 1)])
def test_a_file_of_any_date_has_one(seconds_since_1970: float, year: int) -> None:
    entry = _entry((b"a", "file", 1, 0o644, 0, 0, seconds_since_1970, None), b"a")
    assert isinstance(entry.modified_time, datetime)
    assert (entry.modified_time.year, entry.modified_time.tzinfo) == (year, UTC)


def test_gaps_without_number_are_bounded_and_all_counted() -> None:
    collected, count = Collected(10), 3 * _GAPS_MAX
    for at in range(count):
        collected.add(("gap", ("stdout" if at % 2 else "stderr", 2 * at, 2 * at + 1)))
    collected.add(("ended", (0, None, None, [], 0.0, 1.0)))
    result = collected.result
    assert result is not None
    assert len(result.gaps) == _GAPS_MAX
    assert max(gap.end for gap in result.gaps) == 2 * count - 1


@pytest.mark.parametrize("value", ["1s", None, float("nan"), -1, 1e9])
def test_what_is_no_number_of_seconds_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match="timeout"):
        seconds(value, "timeout")


def test_what_cannot_be_written_to_is_refused() -> None:
    with pytest.raises(UsageError, match="int"):
        Keeper(5)  # type: ignore[arg-type]


def test_what_is_printed_of_a_result_has_its_output() -> None:
    result = CommandResult(0, b"42\n", b"", printed=(3, 0))
    assert repr(result) == "CommandResult(exit_code=0, stdout='42\\n')"
    failed = repr(CommandResult(137, b"x" * 1000, b"why", signal=9, cause="out_of_memory"))
    assert len(failed) < 400
    assert failed.endswith("xxx', stderr='why', signal=9, cause='out_of_memory')")


def test_a_snapshot_that_fails_leaves_no_file(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        sandbox.snapshot("/no/such/directory", to=tmp_path / "state.tar")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="absolute"):
        sandbox.snapshot("workspace")


def test_files_are_those_of_the_workspace(client: Client, sandbox: Sandbox) -> None:
    sandbox.files.write("/workspace/state", "learned")
    made = client.acquire("p", snapshot=sandbox.snapshot())
    (fork,) = sandbox.fork(1)
    assert made.files.read("/workspace/state") == fork.files.read("/workspace/state") == "learned"
