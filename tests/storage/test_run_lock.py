import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys

import pytest

from cnnjobs.errors import RunInUseError, StorageError
from cnnjobs.storage import filesystem, run_lock

HOLD = """
import sys, time
from cnnjobs.storage import run_lock
with run_lock.hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["local", "s3"])
def run(request, tmp_path):
    if request.param == "local":
        return str(tmp_path / "run")
    return f"{request.getfixturevalue('s3')}/run"


def test_a_lock_is_gone_when_its_block_ends(run):
    with run_lock.hold(run):
        assert run_lock.holder(run).startswith(f"process {os.getpid()} on {socket.gethostname()}")
    assert run_lock.holder(run) is None
    assert filesystem.is_empty(run)


def test_a_second_writer_is_refused_and_told_who_the_first_is(run):
    with run_lock.hold(run):
        with pytest.raises(RunInUseError) as caught, run_lock.hold(run):
            raise AssertionError
        message = str(caught.value)
        owner = run_lock.holder(run)
    assert message == (
        f"{run} is being written by {owner}; wait for it or stop it, or choose another directory."
    )


def test_the_lock_of_a_killed_process_is_taken_over(run):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, run], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunInUseError, match=f"process {holder.pid} on "), run_lock.hold(run):
            raise AssertionError
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert run_lock.holder(run) is None
    with run_lock.hold(run):
        assert f"process {os.getpid()} " in run_lock.holder(run)


def test_of_many_writers_at_once_one_gets_the_lock(run):
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    done = context.Event()
    writers = [context.Process(target=_try, args=(run, barrier, answers, done)) for _ in range(4)]
    for writer in writers:
        writer.start()
    found = sorted(answers.get(timeout=580) for _ in writers)
    done.set()
    for writer in writers:
        writer.join()
    assert found == ["held", "refused", "refused", "refused"]


def test_a_lock_on_s3_that_was_not_renewed_belongs_to_the_dead(s3, monkeypatch):
    run = f"{s3}/run"
    elsewhere = {"host": "another.host", "pid": 1, "since": "2026-01-01T00:00:00+00:00"}
    filesystem.write_bytes(f"{run}/{run_lock.NAME}", json.dumps(elsewhere).encode())
    with pytest.raises(RunInUseError, match="process 1 on another"), run_lock.hold(run):
        raise AssertionError
    monkeypatch.setattr(run_lock, "DEAD_AFTER_S", -1.0)
    with run_lock.hold(run):
        pass
    assert filesystem.is_empty(run)


def test_a_writer_that_was_taken_for_dead_stops(s3):
    other = json.dumps({"host": "another.host", "pid": 1, "token": "another"}).encode()
    # in a process of its own: what stops it is the signal of Ctrl-C
    code = f"from cnnjobs.storage import run_lock\nrun_lock.RENEW_S = 2.0\n{HOLD}"
    with subprocess.Popen(
        [sys.executable, "-c", code, f"{s3}/run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        filesystem.write_bytes(f"{s3}/run/{run_lock.NAME}", other)
        errors = holder.communicate()[1]
    assert holder.returncode == -signal.SIGINT
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "another.host" in run_lock.holder(f"{s3}/run")


def test_a_number_of_a_process_that_was_given_again_does_not_keep_a_lock(s3):
    run = f"{s3}/run"
    before = {"host": socket.gethostname(), "pid": os.getpid(), "born": "1", "since": "then"}
    filesystem.write_bytes(f"{run}/{run_lock.NAME}", json.dumps(before).encode())
    assert run_lock.holder(run) is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="cannot be written"),
        run_lock.hold(f"{tmp_path}/file/x"),
    ):
        raise AssertionError


def _try(run, barrier, answers, done):
    barrier.wait()
    try:
        with run_lock.hold(run):
            answers.put("held")
            done.wait(580)
    except RunInUseError:
        answers.put("refused")
