"""The settings of the demonstration and the benchmarks."""

from dataclasses import dataclass

from cnnjobs.config import checks

#: What `cnnjobs bench predict` compares; see `bench.ways`.
SCORING_WAYS = ("notebook", "tf.data", "ray textbook", "ceiling", "cnnjobs predict")


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Settings of `cnnjobs demo`."""

    output: str = "cnnjobs-demo"
    num_images: int = 120
    epochs: int = 6
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        # fewer leave a class with too few images for three splits
        checks.at_least("num_images", self.num_images, 20)
        checks.at_least("epochs", self.epochs, 1)
        checks.at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class BenchTrainConfig:
    """Settings of `cnnjobs bench train`."""

    model: str = "covid"
    rows: int = 320
    epochs: int = 2
    batch_size: int = 32
    repeats: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        # fewer leave a class of ten without an image
        checks.at_least("rows", self.rows, 10)
        checks.at_least("epochs", self.epochs, 1)
        checks.at_least("batch_size", self.batch_size, 1)
        checks.at_least("repeats", self.repeats, 1)
        checks.at_least("seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True)
class BenchPredictConfig:
    """Settings of `cnnjobs bench predict`; `data` None draws an archive of `rows` images.

    The ways are measured in their order, and compared with the first.
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
