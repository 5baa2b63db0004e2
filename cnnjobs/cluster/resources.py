"""Where the processes of a job find their place, whatever the machines are. Nothing of Ray.

A machine is what Ray says it has of CPU, GPU, memory (bytes) and object_store_memory (bytes).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Machine = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for of scorers; None of each leaves it to the machines.

    Attributes:
        number: of scorers. Those that find no place wait for a machine that an autoscaler brings.
        num_cpus: that each takes of its machine.
        num_gpus: the share of a GPU that each takes.
    """

    number: int | None = None
    num_cpus: int | None = None
    num_gpus: float | None = None


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where scorers run: how many there may be, and what each of them takes.

    Attributes:
        number: of scorers.
        num_cpus: that each takes of its machine.
        num_gpus: that each takes, 0 to 1.
        memory: bytes that each takes, where Ray must count them; None where cores run out first.
        decoders: processes that decode for them; 0 where each does that itself.
        decoder_cpus: that each of those takes of its machine.
        threads: that each decodes with.
    """

    number: int
    num_cpus: int
    num_gpus: float
    memory: int | None = None
    decoders: int = 0
    decoder_cpus: int = 0

    @property
    def threads(self) -> int:
        return max(1, self.num_cpus)


def lacking(machines: Sequence[Machine], wanted: Wanted) -> str | None:
    """Why none of the machines can hold a scorer, and what to do; None if one can."""
    with_gpu = [machine for machine in machines if machine.get("GPU", 0) >= 1]
    if wanted.num_gpus is not None and not with_gpu:
        return (
            f"gpus_per_actor is {wanted.num_gpus:g}, and no machine of this Ray has a GPU; leave "
            "it out, or use a cluster with GPUs."
        )
    largest = max((int(machine.get("CPU", 0)) for machine in with_gpu or machines), default=0)
    if largest < 1 and not with_gpu:
        return "no machine of this Ray has cores for jobs; add one that has."
    if (wanted.num_cpus or 0) > largest:
        return (
            f"cpus_per_actor is {wanted.num_cpus}, and the largest machine "
            f"{'with a GPU ' if with_gpu else ''}of this Ray has {largest} cores; give at most "
            f"{largest}, or use a cluster with a larger one."
        )
    return None


def places_on(machines: Sequence[Machine], wanted: Wanted, *, memory: int = 0) -> Places:
    """See `cluster.scorer_places`."""
    by_gpu = wanted.num_gpus is not None or any(machine.get("GPU") for machine in machines)
    key = "GPU" if by_gpu else "CPU"
    used = [machine for machine in machines if machine.get(key, 0) >= 1]
    num_gpus = (wanted.num_gpus or 1) if by_gpu else 0
    if not used:
        # an autoscaler brings the first machine when something asks for one
        return Places(
            number=wanted.number or 1, num_cpus=wanted.num_cpus or 1, num_gpus=wanted.num_gpus or 0
        )
    if by_gpu:
        a_gpu = int(1 / num_gpus)
        shares = [int(machine.get("CPU", 0) // (machine["GPU"] * a_gpu)) for machine in used]
        numbers = [int(machine["GPU"]) * a_gpu for machine in used]
    else:
        shares = [int(machine["CPU"]) for machine in used]
        numbers = [int(machine["CPU"]) // (wanted.num_cpus or min(shares)) for machine in used]
    decoders = decoder_cpus = 0
    is_free = wanted.number is None and wanted.num_cpus is None
    with_cpus = [int(machine["CPU"]) for machine in machines if machine.get("CPU", 0) >= 1]
    if by_gpu and is_free and any(m.get("CPU", 0) >= 1 and not m.get("GPU") for m in machines):
        decoder_cpus = min(with_cpus)
        decoders = sum(cpus // decoder_cpus for cpus in with_cpus)
        shares = [0]
    rooms = [machine.get("memory", math.inf) for machine in used]
    # a machine that is too small for one gets one all the same
    held = [
        number if number * memory <= room else max(1, int(room // memory))
        for number, room in zip(numbers, rooms, strict=True)
    ]
    return Places(
        number=wanted.number or max(1, sum(held)),
        num_cpus=wanted.num_cpus or min(shares),
        num_gpus=num_gpus,
        memory=None if held == numbers else int(min(memory, *rooms)),
        decoders=decoders,
        decoder_cpus=decoder_cpus,
    )


def cores_each(
    machines: Sequence[Machine], number: int, *, num_gpus: float = 0, spare: bool = False
) -> float:
    """Cores that each of some processes may take, so that all of them find a place at once.

    A whole number; where there are more processes than cores, 1/2, 1/3 and so on. 1 where the
    machines do not hold them all however small they are: an autoscaler has to bring some.

    Args:
        machines: all of the cluster.
        number: of processes.
        num_gpus: that each takes of its machine.
        spare: whether a core (half of the only one) of the largest machine is to be left.
    """
    # cores of each machine, and how many its GPUs allow
    rooms = sorted(
        (machine.get("CPU", 0), int(machine.get("GPU", 0) // num_gpus) if num_gpus else number)
        for machine in machines
    )
    if spare and rooms:
        cores, most = rooms.pop()
        rooms.append((max(cores - 1, cores / 2), most))

    def all_fit(parts: int, of: int) -> bool:
        """Whether all find `of / parts` cores."""
        return sum(min(int(cores * parts // of), most) for cores, most in rooms) >= number

    largest = int(max((cores for cores, _ in rooms), default=0))
    for whole in range(largest, 0, -1):
        if all_fit(1, whole):
            return whole
    return next((1 / parts for parts in range(2, number + 2) if all_fit(parts, 1)), 1)


def smallest_store(machines: Iterable[Machine]) -> int:
    """See `cluster.smallest_store_bytes`; 0 where no machine has cores."""
    stores = (each.get("object_store_memory", 0) for each in machines if each.get("CPU", 0) > 0)
    return int(min(stores, default=0))
