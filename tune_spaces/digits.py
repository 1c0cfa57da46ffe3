"""AdaSSL-V on scenes of moving digits, on a laptop: two cores train two settings in two minutes."""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="AdaSSL-V on moving digits",
    recipe="digit-scenes",
    settings={
        "train.steps": 300,
        "train.checkpoint_every": 100,
        "train.global_batch_size": 64,
        "train.val_pairs": 512,
        "optim.warmup_steps": 20,
        "method.free_nats": 0.0,  # which would hide what β does
    },
    sampled={
        "method.beta": LogUniform(
            low=0.0001, high=1.0, why="from where r may copy x+ to where it has died", num_grid=7
        ),
        "method.beta_warmup_steps": Choice(
            values=(0, 100), why="none, and a third of the run; the paper's is an eighth"
        ),
        "method.latent_dim": Choice(
            values=(2, 8, 32), why="the change is one number a pair; 32 asks what too many cost"
        ),
    },
    metric="val/sweep_score",
    first=({"method.beta": 0.01, "method.beta_warmup_steps": 100, "method.latent_dim": 8},),
    baseline={"method.latent": "none"},
)
