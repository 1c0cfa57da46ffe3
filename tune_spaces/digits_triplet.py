"""triplet on moving digits: its margin, with the learning rate."""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="triplet on moving digits",
    recipe="digits-triplet",
    sampled={
        "method.triplet_margin": Choice(
            values=(0.1, 0.2, 0.5, 1.0, 2.0), why="FaceNet's 0.2, up to half the widest distance"
        ),
        "optim.learning_rate": LogUniform(
            low=3e-4, high=1e-2, why="a short run wants more than the 1e-4 of long ones"
        ),
    },
    metric="val/next_clip_nats",
    first=(
        {
            "method.triplet_margin": 0.5,
            "optim.learning_rate": 0.002,
        },
    ),
)
