"""How many processes run on various machines, and with what; one test asks a real Ray."""

import pytest

from cnnjobs.cluster import resources
from cnnjobs.cluster.resources import (
    Allocation,
    Request,
    allocate,
    cores_each,
    shortage,
    smallest_object_store,
)
from cnnjobs.errors import InputError

HEAD = {"memory": 8.0}
SMALL, LARGE = {"CPU": 8.0}, {"CPU": 20.0}
GPU = {"CPU": 16.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("machines", "asked", "number", "num_cpus", "num_gpus"),
    [
        ([SMALL], {}, 1, 8, 0),
        ([SMALL, LARGE, HEAD], {}, 3, 8, 0),
        ([SMALL, LARGE], {"num_cpus": 4}, 7, 4, 0),
        ([SMALL, LARGE], {"number": 40, "num_cpus": 8}, 40, 8, 0),
        ([GPU, HEAD], {}, 2, 8, 1),
        ([GPU, SMALL], {"num_cpus": 8}, 2, 8, 1),
        ([GPU], {"num_gpus": 0.3}, 6, 2, 0.3),
        ([GPU], {"num_gpus": 0.5, "num_cpus": 1, "number": 3}, 3, 1, 0.5),
        # no workers yet: the autoscaler adds what is requested
        ([HEAD], {}, 1, 1, 0),
        ([HEAD], {"number": 16, "num_cpus": 8}, 16, 8, 0),
        ([HEAD, SMALL], {"number": 4, "num_cpus": 8, "num_gpus": 1}, 4, 8, 1),
    ],
)
def test_actors_get_what_is_requested_or_otherwise_their_share_of_the_machines(
    machines, asked, number, num_cpus, num_gpus
):
    allocation = allocate(machines, Request(**asked))
    assert allocation == Allocation(number=number, num_cpus=num_cpus, num_gpus=num_gpus)


@pytest.mark.parametrize(
    ("machines", "asked", "number", "decoders", "decoder_cpus"),
    [
        ([GPU, SMALL], {}, 2, 3, 8),
        ([GPU, GPU, SMALL, LARGE, HEAD], {"num_gpus": 0.25}, 16, 7, 8),
        ([{"GPU": 1.0}, SMALL], {}, 1, 1, 8),
    ],
)
def test_all_cores_decode_and_actors_reserve_none_if_only_some_machines_have_gpus(
    machines, asked, number, decoders, decoder_cpus
):
    allocation = allocate(machines, Request(**asked))
    assert allocation == Allocation(
        number=number,
        num_cpus=0,
        num_gpus=asked.get("num_gpus", 1),
        decoders=decoders,
        decoder_cpus=decoder_cpus,
    )


@pytest.mark.parametrize(
    ("machines", "asked", "reason"),
    [
        ([SMALL, LARGE], {"num_cpus": 20, "number": 9}, None),
        ([GPU, SMALL], {"num_gpus": 0.25, "num_cpus": 16}, None),
        ([{"GPU": 1.0}], {}, None),
        ([HEAD], {}, "no machine of this Ray cluster has cores for jobs; add one that does."),
        (
            [SMALL, LARGE],
            {"num_cpus": 21},
            "cpus_per_actor is 21, but the largest machine of this Ray cluster has 20 cores; use "
            "at most 20, or a cluster with a larger machine.",
        ),
        (
            # actors run on machines with GPUs
            [GPU, LARGE],
            {"num_cpus": 20},
            "cpus_per_actor is 20, but the largest machine with a GPU of this Ray cluster has 16 "
            "cores; use at most 16, or a cluster with a larger machine.",
        ),
        (
            [SMALL],
            {"num_gpus": 0.25},
            "gpus_per_actor is 0.25, but no machine of this Ray cluster has a GPU; leave it out, "
            "or use a cluster with GPUs.",
        ),
    ],
)
def test_a_request_that_no_machine_can_hold_is_explained(machines, asked, reason):
    assert shortage(machines, Request(**asked)) == reason


def test_without_an_autoscaler_a_request_too_large_is_an_error(ray_session):
    cores = resources.num_cpus()
    with pytest.raises(InputError) as refused:
        resources.check_request(Request(num_cpus=cores + 1))
    assert str(refused.value) == shortage([{"CPU": cores}], Request(num_cpus=cores + 1))


@pytest.mark.parametrize(
    ("machines", "number", "options", "cores"),
    [
        ([{"CPU": 2.0}], 1, {}, 2),
        ([{"CPU": 2.0}], 2, {}, 1),
        ([{"CPU": 2.0}], 3, {}, 1 / 2),
        ([{"CPU": 2.0}], 5, {}, 1 / 3),
        # a process cannot span machines
        ([SMALL, SMALL, HEAD], 1, {}, 8),
        ([SMALL, LARGE], 1, {}, 20),
        ([SMALL, LARGE], 2, {}, 10),
        ([SMALL, LARGE], 3, {}, 8),
        ([SMALL, LARGE], 4, {}, 6),
        # one core is left for decoding
        ([{"CPU": 2.0}], 1, {"spare": True}, 1),
        ([{"CPU": 1.0}], 1, {"spare": True}, 1 / 2),
        ([{"CPU": 2.0}], 2, {"spare": True}, 1 / 2),
        ([SMALL, LARGE], 1, {"spare": True}, 19),
        ([SMALL, SMALL], 2, {"spare": True}, 7),
        # only machines with GPUs count, each for as many processes as its GPUs allow
        ([GPU, LARGE], 1, {"num_gpus": 1}, 16),
        ([GPU, LARGE], 2, {"num_gpus": 1}, 8),
        ([GPU, {"CPU": 4.0, "GPU": 1.0}], 3, {"num_gpus": 1}, 4),
        # the autoscaler has to add some
        ([HEAD], 2, {}, 1),
        ([], 2, {}, 1),
        ([GPU], 4, {"num_gpus": 1}, 1),
    ],
)
def test_processes_get_as_many_cores_as_still_lets_all_of_them_run_at_once(
    machines, number, options, cores
):
    assert cores_each(machines, number, **options) == cores


@pytest.mark.parametrize(
    ("machines", "num_bytes"),
    [
        ([{"CPU": 8.0, "object_store_memory": 7e9}, {"CPU": 4.0, "object_store_memory": 2e9}], 2e9),
        # a head without cores holds no images
        ([{"object_store_memory": 1e9}, {"CPU": 8.0, "object_store_memory": 7e9}], 7e9),
        ([{"object_store_memory": 1e9}], 0),
    ],
)
def test_the_smallest_object_store_limits_what_every_machine_can_hold(machines, num_bytes):
    assert smallest_object_store(machines) == num_bytes


@pytest.mark.parametrize(
    ("memories", "asked", "number", "declared"),
    [
        # cores run out before memory, which is then not declared
        ([8, 8], {"num_cpus": 4}, 4, None),
        ([8, 8], {"num_cpus": 1}, 8, 2),
        ([8, 5], {"num_cpus": 1}, 6, 2),
        ([8, 8], {"num_cpus": 1, "number": 40}, 40, 2),
        # two do not fit; one has to
        ([8, 1], {"num_cpus": 4}, 3, 1),
    ],
)
def test_no_more_actors_run_on_a_machine_than_fit_in_its_memory(memories, asked, number, declared):
    machines = [{**SMALL, "memory": memory} for memory in memories]
    allocation = allocate(machines, Request(**asked), memory=2)
    assert (allocation.number, allocation.memory) == (number, declared)
