"""How well a base station's pose explains what UEs measured: a censored Student-t likelihood, not a rank.

The measured NRSRP of a UE is its predicted level + an offset of the station + Student-t noise. Azimuth is scanned on
the isotropic map, because turning an antenna needs no new rays; the offset is profiled. A UE that did not report the
station says that its level was below the weakest one reported, or that the station was missed. The paper and its code
maximise Spearman's rank correlation instead, which sees neither level nor silence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rfloc.config import RadioParams

Floats = NDArray[np.float64]

#: A station that arrives this far above the weakest report is certainly strong enough to be reported [dB] ...
STRONG_DB = 20.0
#: ... and so it is at UEs this near [m].
NEAR = 25.0
#: Where more strong reports than this are missed, silence is not about level, and is not used at all.
MAX_MISSED = 0.2
#: Least scale of the residual [dB]: single measurements a metre apart differ by about as much.
MIN_SCALE_DB = 3.0
#: Residuals nearer to each other than this count as one observation where certainty is stated [m].
CORRELATION = 50.0
#: What is known beforehand of a station's power offset: standard deviation around zero [dB].
OFFSET_SD_DB = 10.0
#: Offsets tried around the robust location of the residual [dB].
OFFSETS = np.arange(-20.0, 20.1, 2.0)


@dataclass(frozen=True)
class Profile:
    """Log-likelihood of one candidate position over azimuths, and the offset that belongs to each."""

    log_likelihood: Floats  #: (azimuth,)
    offset_db: Floats  #: (azimuth,)


def student_t(residual: Floats, df: float, steps: int = 25) -> tuple[Floats, Floats]:
    """Maximum-likelihood location and scale of Student's t along the last axis, `df` known, by EM.

    Lange, Little, Taylor (1989), Robust statistical modeling using the t distribution.

    Parameters
    ----------
    residual : ndarray
        Shape (..., n) [dB].
    df : float
        Degrees of freedom.

    Returns
    -------
    location, scale : ndarray
        Shape (...) [dB].
    """
    location = np.median(residual, axis=-1)
    scale = 1.4826 * np.median(np.abs(residual - location[..., None]), axis=-1) + 1e-6
    for _ in range(steps):
        z2 = ((residual - location[..., None]) / scale[..., None]) ** 2
        weight = (df + 1.0) / (df + z2)
        location = (weight * residual).sum(-1) / weight.sum(-1)
        scale = np.sqrt((weight * (residual - location[..., None]) ** 2).mean(-1)) + 1e-6
    return location, scale


def missed_share(x: Floats, y: Floats, measured: Floats, threshold: Floats) -> float:
    """Probability that a UE does not report a station although it is strong enough, from the measurements themselves.

    The share of silent UEs among those that stand next to a UE with a strong report, pulled towards 0.1 by ten
    imagined UEs. Scanners miss cells: in the Rome campaigns a quarter to a half of such UEs are silent, so that silence
    there is not about level, and reading it as attenuation turns sectors the wrong way.

    Parameters
    ----------
    x, y : ndarray
        Positions, shape (ue,) [m].
    measured : ndarray
        Reports, shape (ue,), NaN = silent [dBm].
    threshold : ndarray
        Weakest level that each UE could have reported, shape (ue,) [dBm].
    """
    points, strong = np.column_stack([x, y]), measured > threshold + STRONG_DB
    if not strong.any():
        return 0.1
    distance = cKDTree(points[strong]).query(points, k=2)[0]  # a strong UE is its own nearest
    near = np.where(strong, distance[:, 1], distance[:, 0]) < NEAR
    return float((np.isnan(measured[near]).sum() + 1.0) / (near.sum() + 10.0))


class LogSilence:
    """Logarithm of P(silent) = missed + (1 - missed) * F(z), F being Student's distribution function, tabulated.

    Parameters
    ----------
    df : float
        Degrees of freedom.
    missed : float
        Probability of silence at any level; bounds what one silence can say.
    """

    def __init__(self, df: float, missed: float) -> None:
        from scipy.stats import t

        self._z = np.linspace(-60.0, 60.0, 12001)
        self._value = np.log(missed + (1.0 - missed) * t.cdf(self._z, df))

    def __call__(self, z: Floats) -> Floats:
        """Log-probability of silence where the threshold lies `z` scales above the expected level."""
        return np.interp(z, self._z, self._value)


def profile(
    heard: Floats, silent: Floats, threshold: Floats, scale: float, df: float, log_silent: LogSilence
) -> Profile:
    """Profile the offset for every azimuth.

    Parameters
    ----------
    heard : ndarray
        Measured minus predicted level, shape (azimuth, n_heard) [dB].
    silent : ndarray
        Predicted level of UEs that reported nothing, shape (azimuth, n_silent) [dBm].
    threshold : ndarray
        Level below which each of the silent UEs reports nothing, shape (n_silent,) [dBm].
    scale, df : float
        Of the Student-t residual.
    log_silent : LogSilence
        Table for `df`.

    Returns
    -------
    Profile
        At the best offset, refined by a parabola through the three best grid points.
    """
    centre = np.median(heard, axis=1)
    values = np.empty((len(OFFSETS), len(heard)))
    for k, step in enumerate(OFFSETS):
        offset = (centre + step)[:, None]
        z = (heard - offset) / scale
        values[k] = -0.5 * (df + 1.0) * np.log1p(z * z / df).sum(1)
        values[k] += log_silent((threshold - silent - offset) / scale).sum(1)
    best = np.clip(values.argmax(0), 1, len(OFFSETS) - 2)
    column = np.arange(values.shape[1])
    low, mid, high = (values[best + k, column] for k in (-1, 0, 1))
    curvature = low - 2.0 * mid + high
    shift = np.where(curvature < 0, 0.5 * (low - high) / np.where(curvature < 0, curvature, 1.0), 0.0).clip(-1.0, 1.0)
    step = OFFSETS[1] - OFFSETS[0]
    return Profile(mid - 0.25 * (low - high) * shift, centre + OFFSETS[best] + shift * step)


def level_db(path_gain: Floats, power_dbm: float, radio: RadioParams, floor: float) -> Floats:
    """NRSRP [dBm] of an isotropic station: power per resource element times path gain, held above `floor`.

    Parameters
    ----------
    path_gain : ndarray
        Linear; zero where no ray arrived.
    power_dbm : float
        Of the station.
    floor : float
        Least path gain that is believed (linear): the smallest that the station's maps show at any UE, so that a UE
        heard where no ray arrives is a bad residual and not an infinite one.
    """
    elements = 12 * radio.resource_blocks
    return power_dbm - 10.0 * np.log10(elements) + 10.0 * np.log10(np.maximum(path_gain, floor))


def effective_share(x: Floats, y: Floats) -> float:
    """Independent observations per measurement: occupied squares of CORRELATION metres over measurements, <= 1."""
    squares = np.unique(np.floor(np.column_stack([x, y]) / CORRELATION), axis=0)
    return len(squares) / len(x)
