"""The pair score: how well each place explains each heard station, summed over the stations.

A cell of the crop and a station that is heard make a pair: how far apart they are, how far off the station's boresight
the cell lies, how much of the line between them runs through buildings, what was measured of the station, and what was
not. One small network scores all pairs alike, and a cell's scores add up (a deep set): the sum is a learned
log-likelihood in which every station is a witness of its own. Nothing in it depends on the crop's edge, so that the
same weights answer for crops of any size, and for a whole city.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rfloc.schema import FEATURES

#: Mean and standard deviation of the radio features [dBm/dB]; the released code divides by the squares of the latter.
RF_MEAN, RF_STD = ([getattr(about, name) for about in FEATURES.values()] for name in ("mean", "sd"))
#: Hidden units of both layers, and edge of the grid on which pairs are scored [cells]: a likelihood is smooth.
WIDTH, GRID = 24, 28
#: Points of the direct line that are looked up in the map of buildings.
POINTS = 16
#: Distances are measured from `NEAR` on, on a logarithmic scale, and in units of `FAR` on a linear one [m].
NEAR, FAR = 10.0, 300.0


def normalise(rf: Tensor, there: Tensor) -> Tensor:
    """Features (..., 4) minus mean over standard deviation of Rome's training UEs, 0 where they are not there."""
    mean, std = (torch.tensor(values, dtype=rf.dtype, device=rf.device) for values in (RF_MEAN, RF_STD))
    return torch.where(there, (rf - mean) / std, 0.0)


def stations_told(bs_xy: Tensor, rf: Tensor, rf_mask: Tensor, bs_mask: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Positions in crop edges, (batch, station, 2), and with them features and what of these is there; 0 if empty."""
    there = rf_mask & bs_mask.unsqueeze(-1)
    xy = torch.where(bs_mask.unsqueeze(-1), bs_xy / size.reshape(-1, 1, 1), 0.0)
    return xy, torch.cat((xy, normalise(rf, there), there.to(rf.dtype)), -1)


class Summarised(nn.Module):
    """A network that says what it knows of a crop as a whole, `width` numbers, beside its logits: `with_summary`."""

    width: int
    with_summary: Callable[..., tuple[Tensor, Tensor]]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits (batch, output, output), row 0 = north, for fields of :class:`~rfloc.crops.Batch`."""
        return self.with_summary(*inputs)[0]


def obstructed(building: Tensor, ends: Tensor, start: Tensor) -> Tensor:
    """Share, (pair, cell), of the line from `start` (pair, 2) to each of `ends` (pair, cell, 2) that lies in buildings.

    `building` (pair, pixel, pixel) is their share, row 0 = north; positions are from the crop's centre in crop edges.
    """
    along = (torch.arange(POINTS, device=ends.device) + 0.5) / POINTS
    points = torch.lerp(start[:, None, None], ends.unsqueeze(2), along[:, None])  # [pair, cell, point, 2]
    grid = 2 * points * points.new_tensor((1.0, -1.0))  # rows count from north, edges lie at -1 and 1
    found = nn.functional.grid_sample(building.unsqueeze(1), grid, mode="nearest", align_corners=False)
    return found.squeeze(1).mean(-1)


class PairScore(nn.Module):
    """A localizer of a thousand weights, told where stations look (`azimuth`), what is in the way (`obstruction`)."""

    def __init__(self, output: int, *, azimuth: bool = True, obstruction: bool = True) -> None:
        super().__init__()
        self.output, self.grid = output, min(GRID, output)
        self.azimuth, self.obstruction = azimuth, obstruction
        self.place = nn.Linear(2 + azimuth + obstruction, WIDTH)
        self.heard = nn.Linear(2 * len(RF_MEAN) + azimuth, WIDTH, bias=False)
        self.score = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1, bias=False))
        self.cover = nn.Conv2d(2, 1, 1)  # buildings and streets, a weight each
        nn.init.zeros_(self.cover.weight)
        # One cell in all is the UE's: where binary cross-entropy starts from. A softmax does not see it.
        nn.init.constant_(self.cover.bias, -2 * math.log(output))  # type: ignore[arg-type]

    def forward(
        self, image: Tensor, bs_xy: Tensor, rf: Tensor, rf_mask: Tensor, bs_mask: Tensor, size: Tensor,
        bs_boresight: Tensor,
    ) -> Tensor:  # fmt: skip
        """Logits (batch, output, output), row 0 = north, for fields of :class:`~rfloc.crops.Batch`."""
        at = (torch.arange(self.grid, device=image.device) + 0.5) / self.grid - 0.5
        north, east = torch.meshgrid(-at, at, indexing="ij")
        cells = torch.stack((east, north), -1).flatten(0, 1)  # [cell, 2] in crop edges
        crop, station = bs_mask.nonzero(as_tuple=True)  # the pairs' crops and stations, (pair,) each
        edge, from_xy = size[crop, None], bs_xy[crop, station]
        gap = cells * edge.unsqueeze(1) - from_xy.unsqueeze(1)  # [pair, cell, 2] m
        distance = gap.norm(dim=-1).clamp(min=NEAR)
        place = [(distance / FAR).log(), distance / FAR]
        there = rf_mask[crop, station]
        heard = [normalise(rf[crop, station], there), there.to(rf.dtype)]
        if self.azimuth:
            ahead = bs_boresight[crop, station]
            place.append((gap * ahead.unsqueeze(1)).sum(-1) / distance)  # cosine of the angle off boresight
            heard.append(ahead.any(1, keepdim=True).to(rf.dtype))
        if self.obstruction:
            place.append(obstructed(image[crop, 0], cells.expand(len(crop), -1, -1), from_xy / edge))
        hidden = self.place(torch.stack(place, -1)) + self.heard(torch.cat(heard, -1)).unsqueeze(1)
        score = self.score(hidden).squeeze(-1).to(image.dtype)  # [pair, cell]
        scores = image.new_zeros(*bs_mask.shape, len(cells)).index_put((crop, station), score)
        total = scores.sum(1).view(-1, 1, self.grid, self.grid)
        likelihood = nn.functional.interpolate(total, size=self.output, mode="bilinear")
        cover = self.cover(nn.functional.adaptive_avg_pool2d(image, self.output))
        return (likelihood + cover).squeeze(1)
