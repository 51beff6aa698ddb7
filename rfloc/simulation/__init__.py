"""Simulation: a city and base stations to path gain, by radio maps or path by path."""

from rfloc.simulation.maps import coverage, gain_at, nrsrp_map, read_error_db, read_maps, sector_gain_db, trace_maps
from rfloc.simulation.paths import beyond_errors, compare_with_maps, trace_gain
from rfloc.simulation.plane import Plane, Rays
