import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from locatlas.errors import InputError
from locatlas.models.training.curve import draw_curve, running_median, thinned
from locatlas.models.training.log import TrainingLog


def write_log(path: Path, n: int, rng: np.random.Generator) -> Path:
    log = TrainingLog(path)
    for step in range(1, n + 1):
        loss = 9 * math.exp(-step / 300) + 2 + 0.4 * float(rng.standard_normal())
        metrics = {"teacher_entropy": 6 - step / n, "kl": None if step == 3 else loss / 9}
        log.write("step", {"step": step, "loss": loss, "metrics": metrics, "lr": step / n})
        if step % 50 == 0:
            log.write("validation", {"step": step, "score": step / n, "metrics": {"macro_f1": 1 - 20 / step}})
    log.close()
    return path


def test_both_pictures_are_written_and_name_what_they_show(tmp_path: Path, rng: np.random.Generator) -> None:
    svg, png = draw_curve(write_log(tmp_path / "log.jsonl", 400, rng), tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    for title in ("loss", "teacher entropy", "kl", "validation: macro f1", "learning rate", "optimizer step"):
        assert f"<!-- {title} -->" in text
    for kind in ("each step", "running median", "a look at the validation part"):  # the legend, once for all panels
        assert text.count(f"<!-- {kind} -->") == 1


def test_a_log_without_a_step_is_told(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"kind":"stopped","step":1,"reason":"x"}\n')
    with pytest.raises(InputError, match=r"log\.jsonl: no step to draw"):
        draw_curve(tmp_path / "log.jsonl", tmp_path)


def test_a_run_of_one_step_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"kind":"step","step":1,"loss":1,"metrics":{},"lr":0.1}\n')
    assert all(path.is_file() for path in draw_curve(tmp_path / "log.jsonl", tmp_path))


@given(st.lists(st.integers(-99, 99), min_size=1, max_size=40), st.integers(0, 50))
def test_the_running_median_is_scipys_but_for_the_ends(values: list[int], reach: int) -> None:
    found = running_median(values, reach, range(len(values)))
    inner = ndimage.median_filter(np.array(values), 2 * reach + 1, mode="nearest")
    for i, one in enumerate(found):
        if reach <= i < len(values) - reach:
            assert one == inner[i]
        assert one == float(np.median(values[max(0, i - reach) : i + reach + 1]))


@given(st.integers(1, 500), st.integers(2, 40))
def test_thinning_keeps_both_ends(n: int, most: int) -> None:
    kept = thinned(n, most)
    assert kept == sorted(set(kept))
    assert (kept[0], kept[-1]) == (0, n - 1)
    assert len(kept) == min(n, most)
