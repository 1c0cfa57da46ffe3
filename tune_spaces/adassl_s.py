"""AdaSSL-S over InfoNCE on any videos, around the recipe `videos` (2,000 steps)."""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="AdaSSL-S: β, its warm-up and d_r",
    recipe="videos",
    settings={"method.latent": "sparse", "method.editor": "low_rank"},
    sampled={
        "method.beta": LogUniform(
            low=0.001, high=1.0, why="nats per active dimension; the paper's 0.1 to 0.8 and below"
        ),
        "method.beta_warmup_steps": Choice(
            values=(0, 250), why="the authors ran it without one; an eighth of the run"
        ),
        "method.latent_dim": Choice(
            values=(8, 16, 32, 64),
            why="at least as many as there are factors; the mask drops the rest",
        ),
        "optim.learning_rate": LogUniform(
            low=1e-4, high=3e-3, why="the paper's 1e-4 of long runs, up to what a short one needs"
        ),
    },
    metric="val/sweep_score",
    first=(
        {
            "method.beta": 0.2,
            "method.beta_warmup_steps": 0,
            "method.latent_dim": 16,
            "optim.learning_rate": 2e-4,
        },
    ),
    baseline={"method.latent": "none"},
)
