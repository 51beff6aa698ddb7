"""Timings of property tests vary with what else the machine does: no deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("simulation", deadline=None)
settings.load_profile("simulation")
