from collections.abc import Iterator

import pytest

from tests.conftest import without_processes


@pytest.fixture(scope="package", autouse=True)
def _without_processes() -> Iterator[None]:
    with without_processes():
        yield
