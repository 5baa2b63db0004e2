"""What is said about a picture: what was done to it, and what was assumed or ignored."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Notes:
    """Steps, in order, and warnings; numbers of pixel attributes, but no text from the file."""

    steps: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    def step(self, done: str) -> None:
        self.steps.append(done)

    def warn(self, about: str) -> None:
        self.warnings.append(about)
