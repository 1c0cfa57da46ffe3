"""BYOL's regression onto the target network's embedding.

Grill et al., "Bootstrap your own latent", arXiv 2006.07733, equation 2.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


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
