"""Base-station poses from training measurements; dataset B' is simulated with them (paper section 5)."""

from rfloc.calibration.calibrate import calibrate
from rfloc.calibration.corrections import corrected_stations
from rfloc.calibration.paper import calibrate_as_paper, paper_stations
from rfloc.calibration.poses import Calibration, SectorPose, calibrated_links, levelled_maps, pose_errors

__all__ = [
    "Calibration", "SectorPose", "calibrate", "calibrate_as_paper", "calibrated_links", "corrected_stations",
    "levelled_maps", "paper_stations", "pose_errors",
]  # fmt: skip
