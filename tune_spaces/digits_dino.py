"""DINO on moving digits: temperatures, EMA and centre, with the learning rate."""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="DINO on moving digits",
    recipe="digits-dino",
    sampled={
        "method.teacher_temperature": Choice(
            values=(0.04, 0.07), why="the paper's range of how sharp the teacher is"
        ),
        "method.ema_momentum": Choice(
            values=(0.97, 0.99, 0.996), why="the paper's 0.996 is for runs a thousand times longer"
        ),
        "method.centre_momentum": Choice(
            values=(0.5, 0.9, 0.99), why="the paper's 0.9, and a faster and a slower centre"
        ),
        "optim.learning_rate": LogUniform(
            low=3e-4, high=1e-2, why="a short run wants more than the 1e-4 of long ones"
        ),
    },
    metric="val/next_clip_nats",
    first=(
        {
            "method.teacher_temperature": 0.04,
            "method.ema_momentum": 0.97,
            "method.centre_momentum": 0.9,
            "optim.learning_rate": 0.002,
        },
    ),
)
