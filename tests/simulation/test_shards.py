from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfloc.errors import SimulationError
from rfloc.simulation.shards import blocks, describe, shards, ues_a_shard
from tests.simulation.toy_campaign import SHARDS, STATIONS, UES, parts


@given(st.integers(1, 200_000), st.integers(1, 20_000))
def test_shards_of_a_station_are_few_and_of_like_size(ues, limit):
    n, step = blocks(ues, limit), ues_a_shard(ues, limit)
    assert step <= limit and (n - 1) * limit < ues <= n * limit
    assert (n - 1) * step < ues <= n * step  # the last one is not empty


def test_shards_hold_every_link_once(toy_city):
    part = parts(toy_city.folder)[0]
    plan = list(shards(part, 20))
    assert len(plan) == SHARDS and sum(shard.links for shard in plan) == part.links == STATIONS * UES
    for k in range(STATIONS):
        mine = [shard for shard in plan if shard.station == k]
        assert mine[0].start == 0 and mine[-1].stop == UES and {shard.station_id for shard in mine} == {f"s{k}"}
        assert all(a.stop == b.start and a.block + 1 == b.block for a, b in pairwise(mine))
    assert str(plan[4]) == "shard a/s1/1 (UEs 17 to 33)"


def test_a_plan_knows_what_gains_depend_on_and_nothing_else(toy_city):
    part = parts(toy_city.folder)[0]
    stations, sim, radio = part.stations, part.sim, part.radio
    told = describe([part], 20)
    same = [
        replace(part, stations=stations.replace(power=stations.power + 3.0)),
        replace(part, sim=sim.model_copy(update={"check_ues": 7})),
        replace(part, radio=radio.model_copy(update={"load": 0.9, "sensitivity_dbm": -100.0})),
    ]
    assert all(describe([other], 20) == told for other in same)
    others = [
        replace(part, stations=stations.moved(1e-9)),
        replace(part, stations=stations.replace(azimuth=stations.azimuth + 1.0)),
        replace(part, stations=stations.take(np.arange(STATIONS)[::-1])),
        replace(part, ue_x=part.ue_x + 1e-9),
        replace(part, sim=sim.model_copy(update={"max_depth": 2})),
        replace(part, radio=radio.model_copy(update={"downtilt": 7.0})),
        replace(part, seed=4),
        replace(part, samples=4001),
    ]
    assert all(describe([other], 20) != told for other in others)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"name": "a/b"}, "no name of a part"), ({"ue_x": [1.0]}, "1 x, 50 y"), ({"ue_x": [], "ue_y": []}, "0 x, 0 y")],
)
def test_parts_that_cannot_be(toy_city, changes, said):
    with pytest.raises(SimulationError, match=said):
        replace(parts(toy_city.folder)[0], **changes)


def test_names_of_parts_differ(toy_city):
    with pytest.raises(SimulationError, match="called a"):
        describe([parts(toy_city.folder)[0]] * 2, 20)
