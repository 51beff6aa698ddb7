"""Figures: one function a figure, axes in, axes out.

Maps are in metres of the city's local frame; a method has one colour and line style in all figures, from Okabe and
Ito's palette. Legends stand outside the data: lay figures out with `layout="constrained"`.
"""

from rfloc.figures.charts import (
    OKABE_ITO,
    ROLE_COLOURS,
    ROLE_LABELS,
    STYLE,
    diagram,
    error_cdf,
    feature_distributions,
    legend_outside,
    method_style,
)
from rfloc.figures.maps import (
    ROOFS,
    SOURCE_COLOURS,
    box_outline,
    city_map,
    deployment_map,
    map_axes,
    patch_grid,
    radio_map,
    roofs_bar,
    scale_bar,
    split_map,
    station_positions,
    stations,
)
