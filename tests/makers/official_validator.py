"""The official BIDS validator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def validate(root: Path) -> tuple[list[str], list[str]]:
    """Codes of the errors, and of the warnings, of the official BIDS validator."""
    tool = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if tool is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([tool, str(root), "--format", "json"], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    by = {
        kind: sorted({issue["code"] for issue in issues if issue["severity"] == kind}) for kind in ("error", "warning")
    }
    return by["error"], by["warning"]
