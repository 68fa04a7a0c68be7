from collections.abc import Iterator

import pytest
from local_web import Web, local_web

from .bucket import Bucket, serve, tree


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server at ``web.url``."""
    with local_web() as state:
        yield state


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """A public bucket at ``bucket.url``, with a small data set of version 1.1.0 in it."""
    state = Bucket(objects={f"ds005216/{name}": body for name, body in tree().items()})
    with serve(state):
        yield state
