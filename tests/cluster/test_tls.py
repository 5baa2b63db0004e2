"""A head with Ray's TLS and a token: jobs reach it with its certificates only."""

from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.heads import connect, running_head


@pytest.mark.slow
def test_a_head_with_tls_is_reached_only_with_its_certificates(tmp_path: Path) -> None:
    tls = Authority(tmp_path / "tls").variables("127.0.0.1")
    (tmp_path / "home").mkdir()
    with running_head(tmp_path / "home", **tls) as head:
        reached = connect(head.address, **head.environment)
        assert (reached.returncode, reached.stdout) == (0, "2\n"), reached.stderr
        refused = connect(head.address, **{**head.environment, "RAY_USE_TLS": "0"})
        assert f"{head.address} requires TLS; set RAY_USE_TLS=1" in refused.stderr
