"""Small images made in code, sound ones and broken ones."""

from pathlib import Path

import pytest
from image_files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Makes files in a temporary folder."""
    return Files(tmp_path)
