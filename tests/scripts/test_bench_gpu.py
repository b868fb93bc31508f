"""The script that measures an accelerator runs where there is none, so that time on a lent one is not lost to it."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow  # a network is loaded twelve times
def test_it_checks_itself_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--device", "cpu", "--images", "8", "--rounds", "1", "--architecture", "vit_tiny_patch16_224"]
    script = ROOT / "scripts" / "bench" / "gpu.py"
    done = subprocess.run(
        [sys.executable, script, *options, "--json", out], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert {row["way"] for row in found["alone"]} == {"fp32 torch", "bf16 torch"}
    assert [row["processes beside"] for row in found["end_to_end"]] == [0, 0, 1, 2]
    assert all(math.isfinite(row["images_per_s"]) and row["images_per_s"] > 0 for row in found["end_to_end"])
    prepared = next(row for row in found["differences"] if row["vectors"] == "fp32, prepared on device")
    assert prepared["cosine_min"] > 0.999999
    for title in ("1. The encoder alone", "2. Preparing alone", "3. Vectors", "4. From files"):
        assert title in done.stdout
