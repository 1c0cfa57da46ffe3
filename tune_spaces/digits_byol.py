"""BYOL on moving digits: its EMA, with the learning rate."""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="BYOL on moving digits",
    recipe="digits-byol",
    sampled={
        "method.ema_momentum": Choice(
            values=(0.9, 0.97, 0.99, 0.996),
            why="the paper's 0.996 is for runs a thousand times longer",
        ),
        "method.ema_schedule": Choice(
            values=("cosine", "constant"), why="the paper's rise to 1, or none in a short run"
        ),
        "optim.learning_rate": LogUniform(
            low=3e-4, high=1e-2, why="a short run wants more than the 1e-4 of long ones"
        ),
    },
    metric="val/next_clip_nats",
    first=(
        {
            "method.ema_momentum": 0.9,
            "method.ema_schedule": "cosine",
            "optim.learning_rate": 0.002,
        },
    ),
)
