"""Jobs on a plain `ray start --head`, whichever token files another Ray has left."""

from collections.abc import Iterator
from itertools import product

import pytest

from tests.cluster.token_matrix import (
    FILES,
    HEADS,
    MODES,
    WAYS,
    PlainHead,
    is_as_expected,
    plain_head,
)


@pytest.fixture(scope="module", params=HEADS)
def head(request: pytest.FixtureRequest) -> Iterator[tuple[str, PlainHead]]:
    with plain_head(request.param) as running:
        yield request.param, running


def test_a_job_follows_the_head_whatever_file_another_ray_left(head: tuple[str, PlainHead]) -> None:
    kind, running = head
    file = "another's token" if kind == "without a token" else "its token"
    output = running.used("driver", file, "unset")
    assert is_as_expected(kind, file, "unset", "driver", output), output


@pytest.mark.slow
@pytest.mark.table
@pytest.mark.parametrize("way", WAYS)
def test_every_combination_works_or_names_the_token(head: tuple[str, PlainHead], way: str) -> None:
    kind, running = head
    bad = [
        (file, mode, output)
        for file, mode in product(FILES, MODES)
        if not is_as_expected(kind, file, mode, way, output := running.used(way, file, mode))
    ]
    assert not bad
