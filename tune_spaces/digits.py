"""AdaSSL-V on moving digits, small enough for a laptop: two cores train a setting in a minute."""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="AdaSSL-V on moving digits",
    recipe="moving-digits",
    settings={
        "train.steps": 240,
        "train.checkpoint_every": 60,
        "train.global_batch_size": 64,
        "optim.warmup_steps": 40,
        "data.frame_size": 32,
        "backbone.name": "conv3d",
        "method.editor": "mlp",
        "method.temperature": 0.1,
        "method.free_nats": 0.0,  # which would hide what β does
    },
    sampled={
        "method.beta": LogUniform(
            low=0.001, high=0.3, why="from where r may copy x+ to where its KL dies", num_grid=4
        ),
        "method.beta_warmup_steps": Choice(
            values=(0, 80), why="none, and a third of the run; the paper's is an eighth"
        ),
        "method.latent_dim": Choice(
            values=(2, 8, 32), why="the change is one number a pair; 32 asks what too many cost"
        ),
    },
    metric="val/next_clip_nats",
    first=({"method.beta": 0.1, "method.beta_warmup_steps": 80, "method.latent_dim": 8},),
    baseline={"method.latent": "none"},
)
