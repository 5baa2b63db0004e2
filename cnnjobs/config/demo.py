"""The settings of the demonstration."""

from dataclasses import dataclass

from cnnjobs.config import checks
from cnnjobs.config.urls import Settings


@dataclass(frozen=True, kw_only=True)
class DemoConfig(Settings):
    """Settings of `cnnjobs demo`."""

    output: str = "cnnjobs-demo"
    num_images: int = 120
    epochs: int = 6
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        # fewer leave a class with too few images for three splits
        checks.at_least("num_images", self.num_images, 20)
        checks.at_least("epochs", self.epochs, 1)
        checks.at_least("seed", self.seed, 0)
