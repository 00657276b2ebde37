"""What the tests of edit files share."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path, source_video) -> Path:
    (tmp_path / "source.mp4").write_bytes(source_video.read_bytes())
    return tmp_path
