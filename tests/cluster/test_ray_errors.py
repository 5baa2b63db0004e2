"""Failures of Ray's processes and machines, provoked for real, as one line."""

import re

import pytest
from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    ObjectStoreFullError,
    RaySystemError,
)

from cnnjobs.cluster import ray_errors
from tests.support.cli import run_python

OUT_OF_MEMORY = """
import time, ray
from cnnjobs.cluster import session
def wait():
    time.sleep(60)
with session.connected("local"):
    ray.get(ray.remote(max_retries=0)(wait).remote())
"""
DIED = """
import os, ray
from cnnjobs.cluster import session
def die():
    os.abort()
with session.connected("local"):
    ray.get(ray.remote(max_retries=0)(die).remote())
"""


@pytest.mark.slow
def test_a_process_that_ray_stopped_for_memory_is_named_with_the_figures():
    # a machine that is fuller than 2% of its memory is full
    limits = {"RAY_memory_usage_threshold": "0.02", "RAY_memory_monitor_refresh_ms": "100"}
    message = _message(OUT_OF_MEMORY, limits)
    assert re.fullmatch(
        r"cnnjobs\.errors\.CnnjobsError: Ray stopped process \d+ \(wait, [\d.]+GB\) because the "
        r"memory of machine [\d.]+ was full \([\d.]+GB of [\d.]+GB\); run fewer processes at once, "
        r"or use a machine with more memory\.",
        message,
    )


def test_a_process_that_died_is_one_line():
    assert _message(DIED, {}).startswith(
        "cnnjobs.errors.CnnjobsError: a process of the job died on a machine; the kernel may have "
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            NodeDiedError(
                "Task failed because the node it was running on is dead or unavailable. Node IP: "
                "10.0.0.7, node ID: 12. The node was marked dead: missed too many heartbeats."
            ),
            "machine 10.0.0.7 stopped answering and left the cluster; look at that machine",
        ),
        (
            RaySystemError("node address: 10.0.0.7 was missed too many heartbeats"),
            "machine 10.0.0.7 stopped answering and left the cluster; look at that machine",
        ),
        (
            ObjectStoreFullError("Failed to put object in the object store\nThe local object ..."),
            "Ray's object store is full; use fewer images, or more memory (docs/clusters.md)",
        ),
        (
            ActorUnavailableError("pid: 512 on IP address: 10.0.0.7\nlog", None),
            "process 512 of the job died on ",
        ),
        (ValueError("not Ray's"), None),
    ],
)
def test_errors_that_take_a_cluster_to_provoke(error, words):
    found = ray_errors.in_words(error)
    assert found == words or found.startswith(words)
    assert found is None or "\n" not in found


def _message(program, environment):
    done = run_python("-c", program, **environment)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]
