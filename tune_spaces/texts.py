"""AdaSSL-V on pairs of short texts, with a small transformer: two cores train a setting in minutes.

The table is one of `adassl data pairs`, such as captions of one picture.
"""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="AdaSSL-V on pairs of texts",
    recipe="texts",
    settings={
        "backbone.hidden_dims": (128, 128),
        "data.max_tokens": 32,
        "train.steps": 300,
        "train.checkpoint_every": 100,
        "train.global_batch_size": 128,
        "optim.learning_rate": 1e-3,
        "optim.warmup_steps": 40,
    },
    sampled={
        "method.beta": LogUniform(
            low=0.001, high=0.3, why="from where r may copy x+ to where its KL dies", num_grid=4
        ),
        "method.beta_warmup_steps": Choice(
            values=(0, 100), why="none, and a third of the run; the paper's is an eighth"
        ),
        "method.latent_dim": Choice(
            values=(4, 16, 64), why="what another caption adds is more than a few numbers"
        ),
    },
    metric="val/next_clip_nats",
    first=({"method.beta": 0.01, "method.beta_warmup_steps": 100, "method.latent_dim": 16},),
    baseline={"method.latent": "none"},
)
