"""How many processes a job runs, and the cores and GPUs that each takes, on any set of machines.

A machine is what Ray reports for it: CPU, GPU, memory and object_store_memory (both in bytes).
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray

from cnnjobs.cluster import session
from cnnjobs.config.printable import printable
from cnnjobs.errors import InputError

Machine = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The actors a user asks for; None leaves the choice to `allocate`.

    Attributes:
        number: of actors. Those that fit on no machine wait for the autoscaler to add one.
        num_cpus: cores per actor.
        num_gpus: share of a GPU per actor.
    """

    number: int | None = None
    num_cpus: int | None = None
    num_gpus: float | None = None


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The actors to start, and the resources each reserves.

    Attributes:
        number: of actors, at most.
        num_cpus: cores per actor.
        num_gpus: share of a GPU per actor, 0 to 1.
        memory: bytes per actor, if Ray has to count them; None if cores run out first.
        decoders: separate processes that decode for the actors; 0 if actors decode themselves.
        decoder_cpus: cores per decoder.
        threads: decoding threads per actor.
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


def live_machines() -> list[Machine]:
    """The machines of the connected cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def num_cpus() -> int:
    """CPU cores of the connected cluster."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def num_gpus() -> int:
    """GPUs of the connected cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def object_store_bytes() -> int:
    """Size of the connected cluster's object store, over all nodes."""
    return int(ray.cluster_resources().get("object_store_memory", 0))


def smallest_object_store(machines: Sequence[Machine]) -> int:
    """Bytes that fit in the object store of every machine with cores; 0 if no machine has any."""
    stores = (each.get("object_store_memory", 0) for each in machines if each.get("CPU", 0) > 0)
    return int(min(stores, default=0))


def check_request(request: Request) -> None:
    """Check that an actor fits on a machine; warn on stderr if one has to be added first.

    Raises:
        InputError: no machine is large enough, and none will be added.
    """
    reason = shortage(live_machines(), request)
    if reason is not None and session.has_fixed_size():
        raise InputError(reason)
    if reason is not None:
        # not through logging, which Ray Data reconfigures when it is imported
        sys.stderr.write(f"waiting for a machine: {printable(reason)}\n")


def shortage(machines: Sequence[Machine], request: Request) -> str | None:
    """Why no machine can hold such an actor, and what to do; None if one can."""
    with_gpu = [machine for machine in machines if machine.get("GPU", 0) >= 1]
    if request.num_gpus is not None and not with_gpu:
        return (
            f"gpus_per_actor is {request.num_gpus:g}, but no machine of this Ray cluster has a "
            "GPU; leave it out, or use a cluster with GPUs."
        )
    largest = max((int(machine.get("CPU", 0)) for machine in with_gpu or machines), default=0)
    if largest < 1 and not with_gpu:
        return "no machine of this Ray cluster has cores for jobs; add one that does."
    if (request.num_cpus or 0) > largest:
        return (
            f"cpus_per_actor is {request.num_cpus}, but the largest machine "
            f"{'with a GPU ' if with_gpu else ''}of this Ray cluster has {largest} cores; use at "
            f"most {largest}, or a cluster with a larger machine."
        )
    return None


def allocate(machines: Sequence[Machine], request: Request, *, memory: int = 0) -> Allocation:
    """One actor per GPU or, without GPUs, one per machine with all its cores.

    If some machines have GPUs and others do not, the cores of all of them decode for the actors,
    which then reserve none, unless the request sets the number of actors or their cores.

    If machines differ in size, actors are sized for the smallest. Larger machines get several,
    as many as fit in memory.

    Args:
        machines: all of the cluster.
        request: what the user asks for.
        memory: bytes that an actor needs.
    """
    by_gpu = request.num_gpus is not None or any(machine.get("GPU") for machine in machines)
    key = "GPU" if by_gpu else "CPU"
    used = [machine for machine in machines if machine.get(key, 0) >= 1]
    gpu_share = (request.num_gpus or 1) if by_gpu else 0
    if not used:
        # the autoscaler adds the first machine once an actor asks for it
        return Allocation(
            number=request.number or 1,
            num_cpus=request.num_cpus or 1,
            num_gpus=request.num_gpus or 0,
        )
    if by_gpu:
        per_gpu = int(1 / gpu_share)
        cores = [int(machine.get("CPU", 0) // (machine["GPU"] * per_gpu)) for machine in used]
        numbers = [int(machine["GPU"]) * per_gpu for machine in used]
    else:
        cores = [int(machine["CPU"]) for machine in used]
        numbers = [int(machine["CPU"]) // (request.num_cpus or min(cores)) for machine in used]
    decoders = decoder_cpus = 0
    is_open = request.number is None and request.num_cpus is None
    with_cpus = [int(machine["CPU"]) for machine in machines if machine.get("CPU", 0) >= 1]
    if by_gpu and is_open and any(m.get("CPU", 0) >= 1 and not m.get("GPU") for m in machines):
        decoder_cpus = min(with_cpus)
        decoders = sum(cpus // decoder_cpus for cpus in with_cpus)
        cores = [0]
    available = [machine.get("memory", math.inf) for machine in used]
    # a machine too small for one actor still gets one
    fitting = [
        number if number * memory <= free else max(1, int(free // memory))
        for number, free in zip(numbers, available, strict=True)
    ]
    return Allocation(
        number=request.number or max(1, sum(fitting)),
        num_cpus=request.num_cpus or min(cores),
        num_gpus=gpu_share,
        memory=None if fitting == numbers else int(min(memory, *available)),
        decoders=decoders,
        decoder_cpus=decoder_cpus,
    )


def cores_each(
    machines: Sequence[Machine], number: int, *, num_gpus: float = 0, spare: bool = False
) -> float:
    """Cores that each of `number` processes may take if all are to run at once.

    A whole number or, with more processes than cores, 1/2, 1/3 and so on. 1 if the machines
    cannot hold them all whatever their size: the autoscaler has to add some.

    Args:
        machines: all of the cluster.
        number: of processes.
        num_gpus: GPUs per process.
        spare: whether to leave one core of the largest machine free (half of its only one).
    """
    # each machine's cores, and how many processes its GPUs allow
    limits = sorted(
        (machine.get("CPU", 0), int(machine.get("GPU", 0) // num_gpus) if num_gpus else number)
        for machine in machines
    )
    if spare and limits:
        cores, most = limits.pop()
        limits.append((max(cores - 1, cores / 2), most))

    def all_fit(numerator: int, denominator: int) -> bool:
        """Whether all fit at `denominator / numerator` cores each."""
        fitting = (min(int(cores * numerator // denominator), most) for cores, most in limits)
        return sum(fitting) >= number

    largest = int(max((cores for cores, _ in limits), default=0))
    for whole in range(largest, 0, -1):
        if all_fit(1, whole):
            return whole
    return next((1 / parts for parts in range(2, number + 2) if all_fit(parts, 1)), 1)
