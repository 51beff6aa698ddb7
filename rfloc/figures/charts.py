"""Charts: errors, calibration scores, distributions of features."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from rfloc.evaluation.errors import ue_errors
from rfloc.figures.style import ROLE_LABELS, legend_outside, method_style
from rfloc.schema import FEATURES, measured


def error_cdf(ax: Axes, predictions: Mapping[str, xr.Dataset], role: str) -> Axes:
    """Share of UEs of one role with at most a given mean error, one line a method."""
    for name, found in predictions.items():
        error = ue_errors(found, role).error
        ax.ecdf(error, **(method_style(name) | {"marker": None}))
    ax.set(xlim=(0, 400), ylim=(0, 1), title=ROLE_LABELS.get(role, role))
    ax.set(xlabel="error, averaged over a UE's crops [m]", ylabel=f"share of the {len(error)} UEs")
    ax.grid(alpha=0.3)
    legend_outside(ax)
    return ax


def feature_distributions(axes: Sequence[Axes], datasets: Mapping[str, xr.Dataset]) -> Sequence[Axes]:
    """Distribution over heard links of the features that a dataset has, a line a dataset, in about 40 bins.

    Axes are as many as :data:`FEATURES`; those of a feature that none has are removed. Bins are whole dB wide: reports
    are quantised, finer bins would beat with them.
    """
    present = [name for name in FEATURES if any(name in measured(links) for links in datasets.values())]
    for ax in axes[len(present) :]:
        ax.remove()
    for ax, name in zip(axes, present, strict=False):
        values = {key: links[name].values[np.isfinite(links[name].values)] for key, links in datasets.items()}
        pooled = np.concatenate(list(values.values()))
        low, high = np.quantile(pooled, [0.002, 0.998]) if pooled.size else (0.0, 1.0)
        width = max(1.0, np.ceil((high - low) / 40))
        edges = np.arange(np.floor(low) - 0.5, high + width, width)
        for key, found in values.items():
            look = method_style(key)
            label = f"{look['label'].removesuffix(' zero-shot')} ({int(datasets[key]['heard'].sum()):,} links)"
            share = np.full(found.size, 100 / max(found.size, 1))
            ax.hist(found, list(edges), weights=share, histtype="step", lw=1.5, color=look["color"], label=label)
        ax.set(xlabel=f"{name.upper()} [{FEATURES[name].unit}]", ylabel="share of links [%]")
    legend_outside(axes[len(present) - 1])
    return axes
