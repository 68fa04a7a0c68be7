"""The wheel, as users install it: without the checkout."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_alone_segments_the_demo_s_head(tmp_path: Path) -> None:
    """Built, installed into an environment of its own beside the dependencies of this one, and run outside of ROOT."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed (extra dev)")

    def run(*command: str | Path) -> str:
        environment = {"PATH": os.defpath}  # no PYTHONPATH to the checkout
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("lodbrain-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", "new")
    python = tmp_path / "new" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # Python reads no .pth file of a folder that a .pth file names, so an editable lodbrain in it stays out.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    assert Path(run(python, "-c", "import lodbrain; print(lodbrain.__file__)").strip()).is_relative_to(packages)
    said = run(tmp_path / "new" / "bin" / "lodbrain", "demo", "-o", "demo")
    assert "Left-Hippocampus" in (tmp_path / "demo" / "icbm152_T1w_volumes.tsv").read_text()
    assert "demo/icbm152_T1w_dseg.nii.gz" in said
    assert (tmp_path / "demo" / "icbm152_T1w_report.html").stat().st_size > 1e6
