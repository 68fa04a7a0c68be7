from collections.abc import Iterator

import pytest
from local_web import Web, local_web


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server at ``web.url``."""
    with local_web() as state:
        yield state
