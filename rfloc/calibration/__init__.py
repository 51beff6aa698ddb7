"""Base-station poses from training measurements; dataset B' is simulated with them (paper section 5)."""

from rfloc.calibration.search import Calibration, calibrate, candidate_stations

__all__ = ["Calibration", "calibrate", "candidate_stations"]
