"""Domain adversarial training (appendix D, after Ganin et al. 2016, arXiv:1505.07818): features that tell no domain.

A classifier learns to tell, from what a network knows of a crop as a whole, whether it is of the labelled source or of
the unlabelled target; the network learns against it, by a gradient that is reversed on the way back. Source and target
pass through the network as one batch, so that its batch norms do not hide what is to be aligned. Of the target only
inputs are seen; but that a crop lies around its UE is known here, as it is at test time.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from rfloc.errors import ConfigError
from rfloc.localizers.networks import INPUTS
from rfloc.localizers.pair import Summarised
from rfloc.training.batches import TrainingSteps

#: Hidden units of the domain classifier, as in the released code; the paper says "MLP".
HIDDEN = 128


def strength(progress: float) -> float:
    """Factor on the reversed gradient after a share `progress` of training, 0 to 1 (Ganin et al., section 5.2.2)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def reversed_gradient(x: Tensor, factor: float) -> Tensor:
    """`x` itself, whose gradient is multiplied by minus a factor on the way back."""
    same = x.view_as(x)
    if same.requires_grad:
        same.register_hook(lambda grad: -factor * grad)
    return same


class Adversary(nn.Module):
    """The domain classifier of a network (ConfigError: it has no summary of a crop), its weights drawn from `seed`."""

    def __init__(self, network: nn.Module, seed: int) -> None:
        super().__init__()
        if not isinstance(network, Summarised):
            raise ConfigError(
                f"{type(network).__name__} cannot be adapted to another domain",
                "it scores places one by one and has no features of the crop as a whole that could be aligned",
                "adapt a row of map_radioformer or mlp_unet, or leave out experiments.<key>.adapt",
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.classify = nn.Sequential(nn.Linear(network.width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, summary: Tensor, sources: int, progress: float) -> tuple[Tensor, Tensor]:
        """Loss, and the share of crops whose domain is told wrong, of summaries (batch, width), the `sources` first."""
        logits = self.classify(reversed_gradient(summary.float(), strength(progress))).squeeze(1)
        truth = torch.arange(len(logits), device=logits.device) >= sources
        loss = nn.functional.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))
        return loss, ((logits.detach() > 0) != truth).float().mean()


@dataclass
class PairedSteps(Dataset[dict[str, Tensor]]):
    """Batches of `sources`, each followed by one of `targets`, of which nothing but the inputs is kept."""

    sources: TrainingSteps
    targets: TrainingSteps

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        first, second = self.sources[index], self.targets[index]
        return first | {name: torch.cat((first[name], second[name])) for name in INPUTS}
