"""The encoder f: a backbone and the projector on top of it."""

from dataclasses import dataclass

from jaxtyping import Float, Num
from torch import Tensor, nn

from adassl.shapes import require_shape


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """What the encoder gives for a batch of samples, not normalised.

    Attributes:
        representation: h, the backbone's output: what probes and downstream tasks use.
        embedding: z = f(x), the projector's output: where the loss is taken.
    """

    representation: Float[Tensor, "batch representation"]
    embedding: Float[Tensor, "batch dim"]


class Encoder(nn.Module):
    """f: backbone, then projector.

    Args:
        backbone: any module from a batch of samples to [batch, output_dim].
        projector: [batch, output_dim] to [batch, embedding_dim], as `build_mlp` makes it.
        output_dim: size of the backbone's output.
    """

    def __init__(self, backbone: nn.Module, projector: nn.Module, *, output_dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.output_dim = output_dim

    def forward(self, samples: Num[Tensor, "batch ..."]) -> Embeddings:
        """Representation and embedding of each sample.

        Raises:
            ValueError: the backbone gives another shape than [batch, output_dim].
        """
        representation = self.backbone(samples)
        require_shape(
            representation,
            (len(samples), self.output_dim),
            name="the encoder's output",
            remedy="pool and flatten what the encoder gives, or state its size as output_dim",
        )
        return Embeddings(representation=representation, embedding=self.projector(representation))
