"""The settings of the benchmarks that compare this project with others."""

from dataclasses import dataclass

from cnnjobs.config import checks

#: The ways to score that `python -m benchmarks predict` compares; see `ways`.
SCORING_WAYS = (
    "notebook", "tf.data", "ray textbook", "daft", "ceiling", "cnnjobs predict", "cnnjobs on Ray",
    "cnnjobs int8",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainBenchmark:
    """Settings of `python -m benchmarks train`."""

    model: str = "covid"
    rows: int = 320
    epochs: int = 2
    batch_size: int = 32
    repeats: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        # fewer rows would leave one of ten classes without an image
        checks.at_least("rows", self.rows, 10)
        checks.at_least("epochs", self.epochs, 1)
        checks.at_least("batch_size", self.batch_size, 1)
        checks.at_least("repeats", self.repeats, 1)
        checks.at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class PredictBenchmark:
    """Settings of `python -m benchmarks predict`.

    Without `data`, an archive of `rows` images is drawn. The ways are measured in the order given;
    ratios are to the first.
    """

    data: str | None = None
    ways: tuple[str, ...] = SCORING_WAYS
    model: str = "covid"
    rows: int = 2000
    side: int = 1000
    repeats: int = 3
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for way in self.ways:
            checks.choice("ways", way, SCORING_WAYS)
        checks.at_least("rows", self.rows, 1)
        checks.at_least("side", self.side, 64)
        checks.at_least("repeats", self.repeats, 1)
        checks.at_least("batch_size", self.batch_size, 1)
        checks.at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class GpuBenchmark:
    """Settings of `python -m benchmarks gpu`.

    A training sees `rows` random images of its model's size; a scoring `rows` drawings of `side`
    squared pixels, on average.
    """

    models: tuple[str, ...] = ("covid", "resnet50")
    rows: int = 2048
    side: int = 1000
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        checks.at_least("rows", self.rows, 10)
        checks.at_least("side", self.side, 64)
        checks.at_least("batch_size", self.batch_size, 1)
        checks.at_least("seed", self.seed, 0)
