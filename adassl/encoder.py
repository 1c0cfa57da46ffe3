"""The encoder f: a backbone and the projector on top of it."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from adassl.backbones import Backbone


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """What the encoder says about a batch of clips, not normalised.

    Attributes:
        representation: h, the backbone's output: what probes and downstream tasks use.
        embedding: z = f(x), the projector's output: where the loss is taken.
    """

    representation: Float[Tensor, "batch representation"]
    embedding: Float[Tensor, "batch dim"]


class Encoder(nn.Module):
    """f: backbone, then projector."""

    def __init__(self, backbone: Backbone, projector: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector

    def forward(self, clips: Float[Tensor, "batch channels frames height width"]) -> Embeddings:
        """Representation and embedding of each clip."""
        representation = self.backbone(clips)
        return Embeddings(representation=representation, embedding=self.projector(representation))
