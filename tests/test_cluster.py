"""Where scorers find their place, whatever the machines are; a real Ray is in integration."""

import pytest

from cnnjobs.cluster import Places, Wanted, places_on

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
        ([GPU, SMALL], {}, 2, 8, 1),
        ([GPU, SMALL], {"num_gpus": 0.25}, 8, 2, 0.25),
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
