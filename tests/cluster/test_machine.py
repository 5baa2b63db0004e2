"""Ports of this machine."""

from pathlib import Path

import pytest

from cnnjobs.cluster import machine

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_free_ports_differ_from_each_other_and_from_those_that_are_taken() -> None:
    if not _RANGE.exists():
        pytest.skip("the ports that the kernel gives are read in /proc")
    first, last = map(int, _RANGE.read_text().split())
    left = range(first, first + 200)
    found = machine.free_ports(20, taken=range(left.stop, last + 1))
    assert len(set(found)) == 20
    assert set(found) <= set(left)
