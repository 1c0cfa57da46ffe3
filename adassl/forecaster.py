"""Futures by a prior that is fitted after training, and told as real clips are embedded.

Two faults of the prior p(r | x) and the editor that training leaves behind are mended, each by
what pairs that the encoder was trained on show, in closed form:

- The prior is factorised, the r of real pairs are not: their dimensions say the same thing several
  times over. So r is drawn as a sum: what z tells about r by ridge regression, and the residual of
  one of the training pairs whose context is most like this one. So it has the correlations, the
  spread and the modes that r has near z.
- The loss sees the angle of an edited embedding to x+ among others, so nothing makes it lie where
  embeddings of clips lie. Ridge regression of what it lacks takes it there, and what reads clips
  can read it. Few pairs change it little.

A prior fitted to the aggregate posterior after training is "two-stage" training in generative
models (Dai and Wipf, "Diagnosing and enhancing VAE models", ICLR 2019); residuals of like contexts
are those of analogue forecasting. Neither paper of the method has it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from adassl.method import Method
from adassl.shapes import require_shape

NEIGHBOURS, SHARE = 256, 16
"""A residual is that of one of so many like contexts, or of one in so many of all, if fewer."""
PENALTY = 10.0
"""Of the ridge regressions, on standardised features: as much as ten pairs' weight."""
ROWS_AT_ONCE = 1024
FOLDS = 4


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """A ridge regression on standardised features, as `fit` makes it."""

    centre: Tensor
    scale: Tensor
    weight: Tensor
    intercept: Tensor

    @classmethod
    def fit(
        cls, features: Float[Tensor, "rows features"], answers: Float[Tensor, "rows answers"]
    ) -> "LinearMap":
        """Least squares with `PENALTY`."""
        centre = features.mean(dim=0)
        scale = features.std(dim=0, correction=0).clamp_min(1e-6)
        standard, intercept = (features - centre) / scale, answers.mean(dim=0)
        gram = standard.T @ standard
        gram.diagonal().add_(PENALTY)
        weight = torch.linalg.solve(gram, standard.T @ (answers - intercept))
        return cls(centre=centre, scale=scale, weight=weight, intercept=intercept)

    def standard(self, features: Float[Tensor, "*rows features"]) -> Tensor:
        """Features at mean 0 and deviation 1 of those that were fitted to."""
        return (features - self.centre) / self.scale

    def __call__(self, features: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows answers"]:
        """The answers that it gives."""
        return self.standard(features) @ self.weight + self.intercept


@dataclass(frozen=True, kw_only=True)
class FittedPrior:
    """Draws r as a linear map of z and the residual of a training pair with a like context.

    Attributes:
        mean: r by z.
        place: where the contexts of the training pairs lie, standardised [pairs, dim].
        residual: of their r about the mean [pairs, latent].
    """

    mean: LinearMap
    place: Tensor
    residual: Tensor

    @classmethod
    def fit(
        cls, context_embedding: Float[Tensor, "pairs dim"], latent: Float[Tensor, "pairs latent"]
    ) -> "FittedPrior":
        """Fit to the r of pairs."""
        mean = LinearMap.fit(context_embedding, latent)
        return cls(
            mean=mean,
            place=mean.standard(context_embedding),
            residual=latent - mean(context_embedding),
        )

    def sample(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "samples batch latent"]:
        """Draws of r given x, independent for every context."""
        near = self._near(context_embedding)
        device = near.device if generator is None else generator.device
        shape = (len(near), num_samples)
        drawn = torch.randint(near.shape[1], shape, generator=generator, device=device)
        rows = near.gather(1, drawn.to(near.device)).T
        return self.mean(context_embedding) + self.residual[rows]

    def _near(self, context_embedding: Tensor) -> Tensor:
        """Rows of the training pairs whose contexts are most alike [batch, neighbours]."""
        number = max(1, min(NEIGHBOURS, len(self.place) // SHARE))
        parts = self.mean.standard(context_embedding).split(ROWS_AT_ONCE)
        found = [torch.cdist(p, self.place).topk(number, largest=False).indices for p in parts]
        return torch.cat(found)


@dataclass(frozen=True, kw_only=True)
class Forecaster:
    """Draws futures of contexts by what training pairs show; made by `fit`.

    Attributes:
        method: that was trained; its editor makes the futures.
        prior: of what r are drawn; None for a method without r.
        correction: what a unit edited embedding lacks to be the embedding of a clip.
    """

    method: Method
    prior: FittedPrior | None
    correction: LinearMap

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        method: Method,
        context_embedding: Float[Tensor, "pairs dim"],
        target: Float[Tensor, "_ _"],
        latent: Float[Tensor, "_ latent"] | None,
    ) -> "Forecaster":
        """Fit to pairs that the encoder was trained on; the method in evaluation mode.

        Args:
            method: trained.
            context_embedding: z of x as `Method.encode` gives it.
            target: unit embedding of x+ as `Method.encode_target` gives it [pairs, dim].
            latent: r of each pair [pairs, latent], a sample of its posterior or the mean; None for
                a method without r.

        Raises:
            ValueError: shapes that do not fit, or r missing or given where the method says other.
        """
        if (method.latent is None) != (latent is None):
            raise ValueError(
                f"latent={'None' if latent is None else 'given'} with a method "
                f"{'without' if method.latent is None else 'with'} r: pass the r of each pair "
                "exactly if the method has one"
            )
        shape = tuple(context_embedding.shape)
        require_shape(target, shape, name="target", remedy="pass x+ of the same pairs")
        prior = None
        if latent is not None:
            same = "pass the r of the same pairs"
            require_shape(latent, (len(context_embedding), None), name="latent", remedy=same)
            prior = FittedPrior.fit(context_embedding.float(), latent.float())
        edited = _edited(method, context_embedding, None if latent is None else latent[None])[0]
        correction = LinearMap.fit(edited, target.float() - edited)
        return cls(method=method, prior=prior, correction=correction)

    @torch.no_grad()
    def futures(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        num_samples: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "samples batch dim"]:
        """What may follow: unit vectors to compare with `Method.encode_target` of clips.

        A method without r has one future, which is repeated.
        """
        if self.prior is None:
            edited = _edited(self.method, context_embedding, None).expand(num_samples, -1, -1)
            return self.placed(edited)
        drawn = self.prior.sample(context_embedding.float(), num_samples, generator)
        return self.futures_of(context_embedding, drawn)

    @torch.no_grad()
    def futures_of(
        self,
        context_embedding: Float[Tensor, "batch dim"],
        latents: Float[Tensor, "samples batch latent"],
    ) -> Float[Tensor, "samples batch dim"]:
        """The futures that given latents lead to, as `futures` tells them."""
        return self.placed(_edited(self.method, context_embedding, latents))

    def placed(self, edited: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        """Unit edited embeddings, taken to where embeddings of clips lie."""
        return normalize(edited + self.correction(edited), dim=-1)


@torch.no_grad()
def cross_fitted_futures(
    method: Method,
    context_embedding: Float[Tensor, "pairs dim"],
    target: Float[Tensor, "_ _"],
    latent: Float[Tensor, "_ latent"] | None,
    group: Int[Tensor, " _"],
    num_samples: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "samples pairs dim"]:
    """Futures of each pair by a forecaster that is fitted to the pairs of other groups.

    Those of a method without r are its one future, repeated, as its editor makes it: a regression
    would take it to the mean of what may come.

    Args:
        method: trained, in evaluation mode.
        context_embedding: as for `Forecaster.fit`.
        target: as for `Forecaster.fit`.
        latent: as for `Forecaster.fit`.
        group: which video each pair is of.
        num_samples: futures of each pair.
        generator: source of the draws.
    """
    if latent is None:
        return method.futures_of(context_embedding, num_samples)
    fold = folds_of(group)
    futures = context_embedding.new_empty(num_samples, *context_embedding.shape)
    for each in fold.unique():
        own, others = (torch.nonzero(mask)[:, 0] for mask in (fold == each, fold != each))
        rows = others if len(others) else own
        fitted = Forecaster.fit(method, context_embedding[rows], target[rows], latent[rows])
        futures[:, own] = fitted.futures(context_embedding[own], num_samples, generator)
    return futures


def folds_of(group: Int[Tensor, " pairs"]) -> Int[Tensor, " pairs"]:
    """Which of the folds each pair is in: whole groups, or stretches of the only one."""
    number = group.unique(return_inverse=True)[1]
    if not number.any():
        number = torch.arange(len(group), device=group.device) * FOLDS // len(group)
    fold: Tensor = number % FOLDS
    return fold


def _edited(method: Method, context: Tensor, latents: Tensor | None) -> Tensor:
    """Unit edited embeddings [samples, batch, dim], one sample where there is no r."""
    if latents is None:
        return method.futures_of(context, 1)
    return method.edited_futures(context, latents)
