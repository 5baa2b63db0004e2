"""Where scorers find their place, whatever the machines are; a real Ray is in integration."""

import pytest

from cnnjobs.cluster import session
from cnnjobs.cluster.resources import Places, Wanted, cores_each, lacking, places_on, smallest_store
from cnnjobs.errors import InputError

HEAD = {"memory": 8.0}
SMALL, LARGE = {"CPU": 8.0}, {"CPU": 20.0}
GPU = {"CPU": 16.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("machines", "wanted", "number", "num_cpus", "num_gpus"),
    [
        ([SMALL], {}, 1, 8, 0),
        ([SMALL, LARGE, HEAD], {}, 3, 8, 0),
        ([SMALL, LARGE], {"num_cpus": 4}, 7, 4, 0),
        ([SMALL, LARGE], {"number": 40, "num_cpus": 8}, 40, 8, 0),
        ([GPU, HEAD], {}, 2, 8, 1),
        ([GPU, SMALL], {"num_cpus": 8}, 2, 8, 1),
        ([GPU], {"num_gpus": 0.3}, 6, 2, 0.3),
        ([GPU], {"num_gpus": 0.5, "num_cpus": 1, "number": 3}, 3, 1, 0.5),
        # none yet: an autoscaler brings those that are asked for
        ([HEAD], {}, 1, 1, 0),
        ([HEAD], {"number": 16, "num_cpus": 8}, 16, 8, 0),
        ([HEAD, SMALL], {"number": 4, "num_cpus": 8, "num_gpus": 1}, 4, 8, 1),
    ],
)
def test_scorers_take_what_is_asked_for_and_else_their_share_of_the_machines(
    machines, wanted, number, num_cpus, num_gpus
):
    places = places_on(machines, Wanted(**wanted))
    assert places == Places(number=number, num_cpus=num_cpus, num_gpus=num_gpus)


@pytest.mark.parametrize(
    ("machines", "wanted", "number", "decoders", "decoder_cpus"),
    [
        ([GPU, SMALL], {}, 2, 3, 8),
        ([GPU, GPU, SMALL, LARGE, HEAD], {"num_gpus": 0.25}, 16, 7, 8),
        ([{"GPU": 1.0}, SMALL], {}, 1, 1, 8),
    ],
)
def test_beside_gpus_all_cores_decode_and_scorers_take_none(
    machines, wanted, number, decoders, decoder_cpus
):
    places = places_on(machines, Wanted(**wanted))
    assert places == Places(
        number=number,
        num_cpus=0,
        num_gpus=wanted.get("num_gpus", 1),
        decoders=decoders,
        decoder_cpus=decoder_cpus,
    )


@pytest.mark.parametrize(
    ("machines", "wanted", "lack"),
    [
        ([SMALL, LARGE], {"num_cpus": 20, "number": 9}, None),
        ([GPU, SMALL], {"num_gpus": 0.25, "num_cpus": 16}, None),
        ([{"GPU": 1.0}], {}, None),
        ([HEAD], {}, "no machine of this Ray has cores for jobs; add one that has."),
        (
            [SMALL, LARGE],
            {"num_cpus": 21},
            "cpus_per_actor is 21, and the largest machine of this Ray has 20 cores; give at most "
            "20, or use a cluster with a larger one.",
        ),
        (
            # scorers go where the GPUs are
            [GPU, LARGE],
            {"num_cpus": 20},
            "cpus_per_actor is 20, and the largest machine with a GPU of this Ray has 16 cores; "
            "give at most 16, or use a cluster with a larger one.",
        ),
        (
            [SMALL],
            {"num_gpus": 0.25},
            "gpus_per_actor is 0.25, and no machine of this Ray has a GPU; leave it out, or use a "
            "cluster with GPUs.",
        ),
    ],
)
def test_what_no_machine_can_hold_is_told_with_what_to_do(machines, wanted, lack):
    assert lacking(machines, Wanted(**wanted)) == lack


def test_on_a_ray_to_which_no_machine_comes_a_scorer_too_large_is_an_error(ray_session):
    cores = session.num_cpus()
    with pytest.raises(InputError) as refused:
        session.check_place(Wanted(num_cpus=cores + 1))
    assert str(refused.value) == lacking([{"CPU": cores}], Wanted(num_cpus=cores + 1))


@pytest.mark.parametrize(
    ("machines", "number", "asked", "cores"),
    [
        ([{"CPU": 2.0}], 1, {}, 2),
        ([{"CPU": 2.0}], 2, {}, 1),
        ([{"CPU": 2.0}], 3, {}, 1 / 2),
        ([{"CPU": 2.0}], 5, {}, 1 / 3),
        # no machine has the cores of all: what is asked for must be found on one
        ([SMALL, SMALL, HEAD], 1, {}, 8),
        ([SMALL, LARGE], 1, {}, 20),
        ([SMALL, LARGE], 2, {}, 10),
        ([SMALL, LARGE], 3, {}, 8),
        ([SMALL, LARGE], 4, {}, 6),
        # a core is left to decode with
        ([{"CPU": 2.0}], 1, {"spare": True}, 1),
        ([{"CPU": 1.0}], 1, {"spare": True}, 1 / 2),
        ([{"CPU": 2.0}], 2, {"spare": True}, 1 / 2),
        ([SMALL, LARGE], 1, {"spare": True}, 19),
        ([SMALL, SMALL], 2, {"spare": True}, 7),
        # only machines with GPUs count, and no more find place than those allow
        ([GPU, LARGE], 1, {"num_gpus": 1}, 16),
        ([GPU, LARGE], 2, {"num_gpus": 1}, 8),
        ([GPU, {"CPU": 4.0, "GPU": 1.0}], 3, {"num_gpus": 1}, 4),
        # an autoscaler has to bring some
        ([HEAD], 2, {}, 1),
        ([], 2, {}, 1),
        ([GPU], 4, {"num_gpus": 1}, 1),
    ],
)
def test_processes_that_run_side_by_side_take_no_more_cores_than_lets_all_find_a_place(
    machines, number, asked, cores
):
    assert cores_each(machines, number, **asked) == cores


@pytest.mark.parametrize(
    ("machines", "num_bytes"),
    [
        ([{"CPU": 8.0, "object_store_memory": 7e9}, {"CPU": 4.0, "object_store_memory": 2e9}], 2e9),
        # a head without cores holds nothing of a set
        ([{"object_store_memory": 1e9}, {"CPU": 8.0, "object_store_memory": 7e9}], 7e9),
        ([{"object_store_memory": 1e9}], 0),
    ],
)
def test_a_set_is_kept_in_memory_if_every_machine_can_hold_it_not_all_of_them_together(
    machines, num_bytes
):
    assert smallest_store(machines) == num_bytes


@pytest.mark.parametrize(
    ("memories", "wanted", "number", "declared"),
    [
        # cores run out before memory: nothing is said of it
        ([8, 8], {"num_cpus": 4}, 4, None),
        ([8, 8], {"num_cpus": 1}, 8, 2),
        ([8, 5], {"num_cpus": 1}, 6, 2),
        ([8, 8], {"num_cpus": 1, "number": 40}, 40, 2),
        # two would not fit, one has to
        ([8, 1], {"num_cpus": 4}, 3, 1),
    ],
)
def test_no_more_scorers_are_placed_than_the_memory_of_a_machine_holds(
    memories, wanted, number, declared
):
    machines = [{**SMALL, "memory": memory} for memory in memories]
    places = places_on(machines, Wanted(**wanted), memory=2)
    assert (places.number, places.memory) == (number, declared)
