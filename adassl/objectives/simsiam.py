"""SimSiam's negative cosine: predictor and stop-gradient alone, no negatives and no EMA.

Chen and He, "Exploring Simple Siamese Representation Learning", arXiv 2011.10566, equations 1 to 4.
Theirs has a BatchNorm on the projector's output too; it works nearly as well without (table 3),
and `adassl.heads` says why it is left out here.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from adassl.objectives.objective import Comparison, Objective


def negative_cosine(
    prediction: Float[Tensor, "rows dim"], destination: Float[Tensor, "rows dim"]
) -> Float[Tensor, ""]:
    """-cos(prediction, destination), the mean over the rows, in float32; between -1 and 1.

    The mean over the rows of both directions is the paper's half of each direction's loss.

    Args:
        prediction: predictor(t(f(x), r)), any norm.
        destination: f(x+), any norm, behind a stop-gradient or not.
    """
    return -cosine_similarity(prediction.float(), destination.float(), dim=-1).mean()


class SimSiam(Objective):
    """Predictions against the online encoder's own embeddings, both directions.

    The stop-gradient is made where the embeddings are (`Directions.stopped`), so that the
    posterior of r reads a constant too, as byol's does; `stop_gradient=False` is the ablation that
    collapses.
    """

    def forward(self, comparison: Comparison, *, step: int) -> Float[Tensor, ""]:
        """`negative_cosine` of all rows; the step plays no part."""
        return negative_cosine(comparison.prediction, comparison.destination)
