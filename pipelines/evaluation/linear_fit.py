"""A linear probe to be kept and used: the model behind the score of `probes.linear_probe`."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from threadpoolctl import threadpool_limits

from pipelines.evaluation.probes import Array, Kind, checked, chosen, linear_model


@dataclass(frozen=True, kw_only=True)
class LinearFit:
    """A linear probe: outputs are `weight` @ ((features - `mean`) / `scale`) + `bias`.

    Attributes:
        classes: of the outputs, whose softmax is the probability of each; None for values.
        mean: of the features it was fitted on, [dim].
        scale: their deviation, [dim].
        weight: [outputs, dim].
        bias: [outputs].
    """

    classes: Array | None
    mean: Array
    scale: Array
    weight: Array
    bias: Array


def fit_linear(
    features: Float[Array, "pairs dim"],
    labels: Shaped[Array, "pairs ..."],
    *,
    kind: Kind,
    groups: Shaped[Array, " pairs"] | None = None,
) -> LinearFit:
    """The model of `linear_probe` itself, to be kept and used.

    Raises:
        ValueError: on features and labels that do not belong together or are not finite.
    """
    x, y = checked("training", features, labels, kind)
    with threadpool_limits(limits=1):
        pipeline, _ = chosen(x, y, kind, *linear_model(kind), None, groups)
    scaler, model = pipeline["scaler"], pipeline["model"]
    weight, bias = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    if kind == "class" and len(weight) == 1:  # of two classes the second's log-odds alone
        weight, bias = np.stack([0 * weight[0], weight[0]]), np.array([0.0, bias[0]])
    classes = model.classes_ if kind == "class" else None
    return LinearFit(
        classes=classes, mean=scaler.mean_, scale=scaler.scale_, weight=weight, bias=bias
    )
