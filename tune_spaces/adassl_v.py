"""AdaSSL-V over InfoNCE on any videos, around the recipe `videos` (2,000 steps)."""

from tune_spaces import Choice, LogUniform, Space

_PAPER = {"method.temperature": 0.1, "optim.learning_rate": 2e-4, "method.beta_warmup_steps": 250}

SPACE = Space(
    title="AdaSSL-V: β, its warm-up and d_r",
    recipe="videos",
    settings={"method.latent": "variational"},
    sampled={
        "method.beta": LogUniform(
            low=0.003,
            high=1.0,
            why="the paper's 0.1 to 0.8 and far below: in short runs r dies at 0.1",
        ),
        "method.beta_warmup_steps": Choice(
            values=(0, 250, 1000), why="none; the paper's eighth of the run; half of it"
        ),
        "method.latent_dim": Choice(
            values=(2, 4, 8, 16, 32), why="the paper's 2 to 20, and one beyond"
        ),
        "method.temperature": Choice(
            values=(0.05, 0.1, 0.2), why="the paper's 0.05 and 0.1; smaller ones let r die sooner"
        ),
        "optim.learning_rate": LogUniform(
            low=1e-4, high=3e-3, why="the paper's 1e-4 of long runs, up to what a short one needs"
        ),
    },
    metric="val/sweep_score",
    first=(
        {**_PAPER, "method.beta": 0.1, "method.latent_dim": 8},
        {**_PAPER, "method.beta": 0.8, "method.latent_dim": 8},
    ),
    baseline={"method.latent": "none"},
)
