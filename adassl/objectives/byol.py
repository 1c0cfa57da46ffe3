"""BYOL's regression onto the target network's embedding.

Grill et al., "Bootstrap your own latent", arXiv 2006.07733, equation 2.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from adassl.objectives.objective import Comparison, Objective


def byol_regression(
    prediction: Float[Tensor, "batch dim"], target: Float[Tensor, "batch dim"]
) -> Float[Tensor, ""]:
    """2 - 2 cos(prediction, target), the mean over the batch, in float32; between 0 and 4.

    The target is a constant here: no gradient reaches it.

    Args:
        prediction: predictor(t(f(x), r)), any norm.
        target: the target network's embedding of x+, any norm.
    """
    prediction = normalize(prediction.float(), dim=-1)
    target = normalize(target.detach().float(), dim=-1)
    return 2 - 2 * (prediction * target).sum(dim=-1).mean()


class BYOL(Objective):
    """The online network's prediction against the target network's embedding, both directions.

    Without an EMA (`ema_momentum=0`, `ema_schedule="constant"`) the target network is the online
    encoder of the same step behind a stop-gradient, and this is SimSiam with twice its gradient.
    """

    def forward(self, comparison: Comparison, *, step: int) -> Float[Tensor, ""]:
        """`byol_regression` of all rows; the step plays no part."""
        return byol_regression(comparison.prediction, comparison.destination)
