"""How far a posterior may be believed: scores that reward honesty, regions, and the power that mends its confidence.

A posterior's density is constant within a cell, so that every region is cut to the share of a cell and holds exactly
its probability. `size` is the edge of all crops or of each, (B,) [m].
"""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from rfloc.arrays import Floats

#: Share of a uniform density that is mixed in before a logarithm is taken: ruling the truth out costs a finite amount.
LAPSE = 0.01
#: Powers between which one is chosen: less flattens a posterior, more sharpens it.
POWERS = (1 / 32, 4.0)
#: Standard deviation of the prior of a power's logarithm, which is normal round 0: a factor of four either way.
PRIOR_SD = float(np.log(4))


def to_power(posterior: NDArray[np.floating], power: float) -> Floats:
    """Posteriors (B, G, G) raised to a power and scaled to sum 1; cells that were ruled out stay so."""
    top = posterior.max(axis=(1, 2), keepdims=True)
    raised = (posterior / top).astype(float) ** power
    return raised / raised.sum(axis=(1, 2), keepdims=True)


def nll(posterior: NDArray[np.floating], target: NDArray[np.integer], size: ArrayLike) -> Floats:
    """Negative log density at the UE, in the cell of index `target`, :data:`LAPSE` mixed in, (B,) [nat, per m^2]."""
    mass = np.take_along_axis(posterior.reshape(len(posterior), -1), np.asarray(target)[:, None], axis=1)[:, 0]
    cells = posterior.shape[-1] ** 2
    return -np.log(((1 - LAPSE) * mass * cells + LAPSE) / np.asarray(size, float) ** 2)


def fit_power(posterior: NDArray[np.floating], target: NDArray[np.integer], witnesses: int) -> float:
    """The power among :data:`POWERS` that posteriors (B, G, G) are best raised to, by :func:`nll` at these cells (B,).

    Neighbouring crops err alike: they count as so many independent `witnesses`, against a prior of powers round 1.
    """

    def loss(log: float) -> float:
        return float(witnesses * nll(to_power(posterior, np.exp(log)), target, 1.0).mean() + (log / PRIOR_SD) ** 2 / 2)

    return float(np.exp(minimize_scalar(loss, bounds=np.log(POWERS), method="bounded", options={"xatol": 0.02}).x))


def certainty(
    posterior: NDArray[np.floating], power: float, target: NDArray[np.integer], at: NDArray[np.floating], size: Floats
) -> dict[str, Floats]:
    """Columns of predictions, (B,), on posteriors to a power with UEs `at` (B, 2), in `target`; `_raw`: as answered."""
    raised = to_power(posterior, power)
    found = {"temper": np.full(len(raised), power), "energy": energy(raised, at, size), "area90": region(raised, 0.9)}
    for name, each in {"": raised, "_raw": posterior}.items():
        found |= {f"nll{name}": nll(each, target, size)}
        found |= {f"credibility{name}": credibility(each, target, at, size)}
    return found


def certainties(predictions: xr.Dataset) -> dict[str, Floats]:
    """What a score says of posteriors, by its fields, a value a crop; empty where predictions say nothing of it."""
    if "credibility" not in predictions:
        return {}
    found = {name: predictions[name].values for name in ("nll", "energy", "area90", "temper")}
    truth, raw = predictions["credibility"].values, predictions["credibility_raw"].values
    edge = predictions["size"].values if "size" in predictions else predictions.attrs["crop_size"]
    inside = {"inside50": truth < 0.5, "inside90": truth < 0.9, "inside90_raw": raw < 0.9}
    found |= {name: held.astype(float) for name, held in inside.items()}
    return found | {"radius90": edge * np.sqrt(found["area90"] / np.pi)}


def energy(posterior: NDArray[np.floating], at: NDArray[np.floating], size: ArrayLike) -> Floats:
    """Energy score at the UE's place `at` (B, 2), relative to the crop centre, (B,) [m].

    E|X - at| - E|X - X'| / 2 for independent X, X' of the posterior (Gneiting and Raftery 2007, eq. 22), exact on cell
    centres: the second term by the posterior's autocorrelation. Of a certain point it is the error.
    """
    cells = posterior.shape[-1]
    step = np.broadcast_to(np.asarray(size, float), len(posterior)) / cells
    middle = np.arange(cells) - (cells - 1) / 2
    column, row = at[:, 0] / step, -at[:, 1] / step
    to_truth = np.hypot(middle[:, None] - row[:, None, None], middle - column[:, None, None])
    shift = np.fft.fftfreq(2 * cells, 1 / (2 * cells))
    spectrum = np.fft.rfft2(posterior, s=(2 * cells, 2 * cells))
    pairs = np.fft.irfft2(np.abs(spectrum) ** 2, s=(2 * cells, 2 * cells))
    apart = np.einsum("bij,ij->b", pairs, np.hypot(shift[:, None], shift))
    return step * (np.einsum("bij,bij->b", posterior, to_truth) - apart / 2)


def credibility(
    posterior: NDArray[np.floating], target: NDArray[np.integer], at: NDArray[np.floating], size: ArrayLike
) -> Floats:
    """Probability of what a posterior holds likelier than the UE's place `at` (B, 2) in the cell `target`, (B,).

    Of its own cell, what lies west of it counts. The region that holds a share q holds the UE where this is under q, so
    that the distribution of it over crops is the reliability curve: uniform where posteriors mean what they say.
    """
    flat, own = posterior.reshape(len(posterior), -1).astype(float), np.asarray(target)[:, None]
    mass = np.take_along_axis(flat, own, axis=1)
    ahead = (flat > mass) | ((flat == mass) & (np.arange(flat.shape[1]) < own))
    west = (at[:, 0] / np.asarray(size, float) + 0.5) * posterior.shape[-1] - own[:, 0] % posterior.shape[-1]
    return (flat * ahead).sum(axis=1) + mass[:, 0] * np.clip(west, 0, 1)


def region(posterior: NDArray[np.floating], level: float) -> Floats:
    """Share of each crop's area that the smallest region takes which holds `level` of the probability, (B,)."""
    flat = -np.sort(-posterior.reshape(len(posterior), -1).astype(float), axis=1)
    held = np.cumsum(flat, axis=1)
    whole = (held < level).sum(axis=1)
    last = np.minimum(whole, flat.shape[1] - 1)[:, None]
    part = (level - np.take_along_axis(held - flat, last, axis=1)) / np.take_along_axis(flat, last, axis=1)
    return (last[:, 0] + np.clip(part[:, 0], 0, 1)) / flat.shape[1]
