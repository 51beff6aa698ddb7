"""Base-station poses from training measurements; dataset B' is simulated with them (paper section 5)."""

from rfloc.calibration.levels import calibrate
from rfloc.calibration.moving import move
from rfloc.calibration.paper import calibrate_as_paper, paper_stations
from rfloc.calibration.poses import Calibration, calibrated_links, corrected_stations, levelled_maps, pose_errors
