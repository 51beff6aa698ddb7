"""Learning-rate schedules against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfloc.config import ExperimentParams, TrainingParams
from rfloc.training.schedules import linear, schedule, wsd


@pytest.mark.parametrize(
    ("progress", "factor"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.6, 1.0), (0.7, 1.0), (0.85, 0.5), (1.0, 0.0)]
)
def test_wsd_closed_form(progress: float, factor: float) -> None:
    assert wsd(progress, 0.1, 0.3) == pytest.approx(factor)


@given(st.floats(0, 0.5), st.floats(0, 0.5))
def test_wsd_area(warmup: float, decay: float) -> None:
    steps = (np.arange(4000) + 0.5) / 4000
    area = np.mean([wsd(s, warmup, decay) for s in steps])
    assert area == pytest.approx(1 - warmup / 2 - decay / 2, abs=1e-3)


def test_without_warmup_and_decay_the_rate_is_constant() -> None:
    assert {wsd(s, 0.0, 0.0) for s in (0.0, 0.4, 1.0)} == {1.0}


def test_experiment_names_its_schedule() -> None:
    training = TrainingParams(warmup=0.5, decay=0.25)
    pre = ExperimentParams(label="B", start="init", data="B", samples=1)
    fine = ExperimentParams(label="B, A", start="B", data="A", samples=1, schedule="linear")
    assert schedule(pre, training)(0.25) == pytest.approx(0.5)
    assert schedule(fine, training)(0.25) == linear(0.25) == pytest.approx(0.75)
