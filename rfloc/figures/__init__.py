"""Figures: one function a figure, axes in, axes out.

Every map has axes in metres of the city's local frame; every method has one colour and line style in all figures, from
Okabe and Ito's palette, which colour-blind readers can tell apart. Colour says what a network was pretrained on, a
solid line that it has seen measurements. Legends stand outside the data: lay figures out with `layout="constrained"`.
"""

from rfloc.figures.calibration import azimuth_posterior, convergence, pose_posterior, search_cost
from rfloc.figures.campaigns import SOURCE_COLOURS, deployment_map, heard_stations, patch_grid, station_positions
from rfloc.figures.charts import calibration_gain, error_cdf, feature_distributions
from rfloc.figures.departures import departures
from rfloc.figures.maps import (
    ROOFS,
    box_outline,
    calibration_map,
    city_map,
    crop_input,
    held_out_areas,
    map_axes,
    posterior_map,
    radio_map,
    roofs_bar,
    scale_bar,
    split_map,
    stations,
)
from rfloc.figures.style import OKABE_ITO, ROLE_COLOURS, ROLE_LABELS, STYLE, legend_outside, method_style
