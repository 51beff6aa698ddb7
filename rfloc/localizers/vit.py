"""Parts of MapRadioFormer+: station marks, positional encoding, unpatching and head (paper section 6, appendix G)."""

import math

import torch
from torch import Tensor, nn

from rfloc.errors import ConfigError

#: Edge of the square that marks a station in the image [px] (section 6.1).
BLOB = 7


def sinusoids(xy: Tensor, width: int, cells: int) -> Tensor:
    """Two-dimensional sinusoidal encoding, (..., width), of positions (..., 2) from the crop's centre in crop edges.

    The first half of the dimensions, a multiple of 4, encodes y, the second x, sine and cosine interleaved. Angular
    frequencies grow geometrically from pi (the crop is half a turn) to pi * `cells` (a cell of the output grid is):
    unlike the released code's coordinate times 10,000, nothing turns faster than the grid resolves.
    """
    frequencies = math.pi * torch.logspace(0, math.log10(cells), width // 4, device=xy.device)
    angle = xy.flip(-1).unsqueeze(-1) * frequencies  # [..., 2, width/4]
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-3)


def draw_stations(image: Tensor, xy: Tensor, level: Tensor, mask: Tensor) -> Tensor:
    """A copy of images with squares that hold a station's row, column and normalised RSSI `level` (section 6.1).

    Images are (batch, 3, pixels, pixels), row 0 = north; `xy` (batch, station, 2) is relative to the centre in crop
    edges; `mask` (batch, station) says which stations exist. Earlier stations cover later ones.
    """
    image = image.clone()
    if image.is_meta:  # shapes alone: nothing to draw
        return image
    pixels = image.shape[-1]
    column, row = 0.5 + xy[..., 0], 0.5 - xy[..., 1]  # [batch, station], 0 to 1 from west and north
    reach = torch.arange(BLOB, device=image.device) - BLOB // 2
    rows = (row * pixels).floor().long()[..., None, None] + reach[:, None]  # [batch, station, BLOB, 1]
    columns = (column * pixels).floor().long()[..., None, None] + reach  # [batch, station, 1, BLOB]
    inside = (rows >= 0) & (rows < pixels) & (columns >= 0) & (columns < pixels) & mask[..., None, None]
    values = torch.stack((row, column, level), dim=-1)
    for k in reversed(range(xy.shape[1])):
        b, i, j = inside[:, k].nonzero(as_tuple=True)
        image[b, :, rows[b, k, i, 0], columns[b, k, 0, j]] = values[b, k].to(image.dtype)
    return image


def unpatch(tokens: Tensor, channels: int) -> Tensor:
    """Patch tokens (batch, channels * p * p, h, w) as an image (batch, channels, p * h, p * w) (appendix G).

    Channel c*p*p + r*p + s of token (i, j) is pixel (p*i + r, p*j + s) of the image's channel c.
    """
    return nn.functional.pixel_shuffle(tokens, math.isqrt(tokens.shape[1] // channels))


def pool_logits(logits: Tensor, pool: int) -> Tensor:
    """Logits (batch, n, n) of pixels as logits of cells of `pool` x `pool`: added up as probabilities (log-sum-exp)."""
    return logits.unfold(1, pool, pool).unfold(2, pool, pool).flatten(3).logsumexp(-1) if pool > 1 else logits


class Head(nn.Module):
    """Layers to logits: batch norm a layer, mean over layers, 1x1 projection, unpatching, 3x3 convolution (6.2).

    Where the output grid is a multiple of the patch grid, patches are unpatched onto it directly, which saves work at
    full resolution; with `output` equal to `pixels` that is the paper's 14 x 14 x 3 = 588 dimensions. Otherwise the
    head works at `pixels` and the logits of the pixels in a cell are added up as probabilities (log-sum-exp).
    """

    def __init__(self, width: int, layers: int, patches: int, pixels: int, output: int) -> None:
        super().__init__()
        if output % patches and pixels % output:
            raise ConfigError(
                f"crops.output={output} fits neither {patches} patches nor {pixels} pixels an edge",
                "the head unpatches tokens onto the output grid, or sums whole pixels into its cells",
                f"choose a multiple of {patches} or a divisor of {pixels}",
            )
        edge = output if output % patches == 0 else pixels
        self.pool = edge // output
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(layers))
        self.project = nn.Conv2d(width, 3 * (edge // patches) ** 2, 1)
        self.smooth = nn.Conv2d(3, 1, 3, padding=1)
        # One cell in all is the UE's: where binary cross-entropy starts from. A softmax does not see it.
        nn.init.constant_(self.smooth.bias, -2 * math.log(edge))  # type: ignore[arg-type]

    def forward(self, layers: list[Tensor]) -> Tensor:
        """Patch features of every layer, each (batch, width, h, w), to logits (batch, output, output)."""
        mean = torch.stack([norm(layer) for norm, layer in zip(self.norms, layers, strict=True)]).mean(0)
        return pool_logits(self.smooth(unpatch(self.project(mean), 3)).squeeze(1), self.pool)
