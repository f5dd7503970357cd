"""The demo runs to its end, on a few images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[1] / "demo" / "firstlight.py"


@pytest.mark.timeout(600)
def test_demo(tmp_path: Path, runtime_folder: Path, daos_binary: str) -> None:
    environment = {**os.environ, "DAOS_BIN": daos_binary, "DEMO_DIR": str(tmp_path), "KEEP": ""}
    out = subprocess.run(
        [sys.executable, str(DEMO), "--limit", "2100", "--steps", "10", "--victim-steps", "5"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stdout + out.stderr
    assert out.stdout.count("bit-equal") == 4  # two lines, and again in the table
    assert "DIFFERENT" not in out.stdout
    assert "checkpoint restored" in out.stdout
    assert out.stdout.count("batches equal") == 2
    assert out.stdout.count("samples/s, ours, ready batches") == 2
    assert "language model, loss of step 1 and 10" in out.stdout
    assert out.stdout.count("trained on from the view") == 2
    assert not list(tmp_path.glob("demo-*")), "the scratch folder is still there"
