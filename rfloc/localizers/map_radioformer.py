"""MapRadioFormer+: map patches and radio tokens in one transformer, a posterior over the crop grid out (section 6).

One code path serves all sizes: the trunk is always `transformers.Dinov2Model`, either small and untrained
(`backbone="small"`) or with DINOv2's own configuration, where pretrained weights fit in. Choices that differ from the
released code: radio features are divided by their standard deviation (not the variance), a missing feature is told by
an indicator (not by a zero), padded stations get no attention at all, every layer counts once in the mean over layers,
the positional encoding is on, and the second image channel holds the streets. With `recipe="ours"` the logits of a pair
score are added: alone, the transformer learns where streets are and, by luck of the seed, what levels mean.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from rfloc.config import CropParams, ModelParams
from rfloc.errors import ConfigError, TrainingError
from rfloc.localizers.pair import RF_MEAN, PairScore, Summarised, normalise, stations_told

if TYPE_CHECKING:
    from transformers import Dinov2Model

#: Edge of the square that marks a station in the image [px] (section 6.1).
BLOB = 7
#: Hidden width, layers and heads of the published DINOv2 trunks (patch 14, trained at 518 px).
DINOV2 = {"dinov2-small": (384, 12, 6), "dinov2-base": (768, 12, 12), "dinov2-large": (1024, 24, 16)}


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
    """Patch tokens (batch, channels * p * p, h, w) as an image (batch, channels, p * h, p * w) (appendix G)."""
    return nn.functional.pixel_shuffle(tokens, math.isqrt(tokens.shape[1] // channels))


def pool_logits(logits: Tensor, pool: int) -> Tensor:
    """Logits (batch, n, n) of pixels as logits of cells of `pool` x `pool`: added up as probabilities (log-sum-exp)."""
    return logits.unfold(1, pool, pool).unfold(2, pool, pool).flatten(3).logsumexp(-1) if pool > 1 else logits


class Head(nn.Module):
    """Layers to logits: batch norm a layer, mean over layers, 1x1 projection, unpatching, 3x3 convolution (6.2).

    Where the output grid is a multiple of the patch grid, patches are unpatched onto it directly; with `output` equal
    to `pixels` that is the paper's 14 x 14 x 3 = 588 dimensions. Else :func:`pool_logits` sums those of `pixels`.
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


class MapRadioFormer(Summarised):
    """The network (paper section 6), made by :func:`build_model`."""

    def __init__(self, trunk: Dinov2Model, model: ModelParams, crops: CropParams) -> None:
        super().__init__()
        self.output, self.patches, self.width = crops.output, crops.pixels // model.patch, trunk.config.hidden_size
        self.embeddings, self.layers = trunk.embeddings, trunk.encoder.layer
        self.embeddings.mask_token = None  # only for masked pretraining
        widths = [2 + 2 * len(RF_MEAN), *model.mlp]
        hidden = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
        self.radio = nn.Sequential(*hidden, nn.Linear(widths[-1], self.width))
        self.head = Head(self.width, len(self.layers) + 1, self.patches, crops.pixels, crops.output)
        # last: the other weights are the paper's recipe's
        self.pair = PairScore(crops.output) if model.recipe == "ours" else None

    @staticmethod
    def encode_image(
        image: Tensor, bs_xy: Tensor, rf: Tensor, rf_mask: Tensor, bs_mask: Tensor, size: Tensor
    ) -> Tensor:
        """What the trunk sees, (batch, 3, pixels, pixels): building, road, scale [px/m], stations drawn in."""
        scale = (image.shape[-1] / size).to(image.dtype).reshape(-1, 1, 1, 1).expand(-1, 1, *image.shape[2:])
        there = rf_mask & bs_mask.unsqueeze(-1)
        rssi, _, nrsrp, _ = normalise(rf, there).unbind(-1)
        level = torch.where(there[..., 0], rssi, nrsrp)  # a campaign may be without RSSI
        return draw_stations(torch.cat((image, scale), 1), bs_xy / size.reshape(-1, 1, 1), level, bs_mask)

    def with_summary(
        self, image: Tensor, bs_xy: Tensor, rf: Tensor, rf_mask: Tensor, bs_mask: Tensor, size: Tensor,
        bs_boresight: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Logits, and the CLS token behind the last layer, (batch, width): what is known of the crop as a whole."""
        seen_image = self.encode_image(image, bs_xy, rf, rf_mask, bs_mask, size)
        patches = self.embeddings(seen_image)  # [batch, CLS + patches^2, width]
        xy, told = stations_told(bs_xy, rf, rf_mask, bs_mask, size)
        radio = self.radio(told)
        radio = radio + sinusoids(xy, radio.shape[-1], self.output)
        tokens = torch.cat((patches, radio), 1)
        attended = torch.cat((bs_mask.new_ones(patches.shape[:2]), bs_mask), 1)[:, None, None]
        seen = [self._patch_features(tokens)]
        for layer in self.layers:
            tokens = layer(tokens, attended)  # SDPA reads a boolean mask: True takes part
            seen.append(self._patch_features(tokens))
        logits = self.head(seen)
        if self.pair is not None:
            logits = logits + self.pair(image, bs_xy, rf, rf_mask, bs_mask, size, bs_boresight)
        return logits, tokens[:, 0]

    def _patch_features(self, tokens: Tensor) -> Tensor:
        """The patch tokens among all tokens as an image, shape (batch, width, patches, patches)."""
        return tokens[:, 1 : 1 + self.patches**2].mT.unflatten(-1, (self.patches, self.patches))


def build_model(model: ModelParams, crops: CropParams, weights: Path | None = None) -> MapRadioFormer:
    """The network that the parameters describe (else ConfigError), from PyTorch's global random state.

    A DINOv2 trunk is loaded from `weights`/<backbone>, in Hugging Face's layout (else TrainingError); None: untrained.
    """
    from transformers import Dinov2Config, Dinov2Model
    from transformers.utils import logging

    small = model.backbone == "small"
    width, depth, heads = (model.width, model.depth, model.heads) if small else DINOV2[model.backbone]
    problems = {
        f"crops.pixels={crops.pixels} is no multiple of model.patch={model.patch}": crops.pixels % model.patch,
        f"model.width={width} is no multiple of 4, nor of model.heads={heads}": width % 4 or width % heads,
        f"model.patch={model.patch}, but DINOv2's patches have 14 px": not small and model.patch != 14,
    }
    for problem, wrong in problems.items():
        if wrong:
            raise ConfigError(problem, "the parts of the network would not fit together", "change one of them")
    if weights is None:
        sizes: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
        edge = crops.pixels if small else 518
        trunk = Dinov2Model(Dinov2Config(**sizes, image_size=edge, patch_size=model.patch))
        trunk.set_attn_implementation("sdpa")
        _align_positions(trunk, crops)
    else:
        if not (weights / model.backbone / "config.json").is_file():
            raise TrainingError(
                f"there are no weights of {model.backbone} in {weights}",
                "model.pretrained is on, and the trunk starts from DINOv2's weights",
                f"put Hugging Face's facebook/{model.backbone} there, or set model.pretrained to false",
            )
        logging.disable_progress_bar()  # pages show none
        try:
            trunk = Dinov2Model.from_pretrained(
                weights / model.backbone, dtype=torch.float32, local_files_only=True, attn_implementation="sdpa"
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            what = f"the weights of {model.backbone} in {weights} cannot be read"
            raise TrainingError(what, " ".join(str(error).split())[:300], "fetch them again") from None
        held = (trunk.config.hidden_size, trunk.config.num_hidden_layers, trunk.config.num_attention_heads)
        if held != (width, depth, heads):
            raise TrainingError(
                f"the weights in {weights / model.backbone} are of another network than {model.backbone}",
                f"width, layers and heads are {held} there, {(width, depth, heads)} here",
                f"put Hugging Face's facebook/{model.backbone} there, or name the backbone that it holds",
            )
    return MapRadioFormer(trunk, model, crops)


def _align_positions(trunk: Dinov2Model, crops: CropParams) -> None:
    """Start an untrained trunk's patch positions from the radio tokens' code: stations then find their surroundings."""
    embeddings = trunk.embeddings.position_embeddings
    n = math.isqrt(embeddings.shape[1] - 1)
    at = (torch.arange(n) + 0.5) / n - 0.5
    y, x = torch.meshgrid(-at, at, indexing="ij")
    with torch.no_grad():
        embeddings[0, 1:] = sinusoids(torch.stack((x, y), -1).flatten(0, 1), embeddings.shape[-1], crops.output)
