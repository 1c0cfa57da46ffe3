"""Simple on moving digits: the weight of its centre, with the learning rate."""

from tune_spaces import LogUniform, Space

SPACE = Space(
    title="Simple on moving digits",
    recipe="digits-simple",
    sampled={
        "method.centre_weight": LogUniform(
            low=0.03, high=30.0, why="from where it nearly collapses to where alignment is small"
        ),
        "optim.learning_rate": LogUniform(
            low=3e-4, high=1e-2, why="a short run wants more than the 1e-4 of long ones"
        ),
    },
    metric="val/next_clip_nats",
    first=(
        {
            "method.centre_weight": 10.0,
            "optim.learning_rate": 0.002,
        },
    ),
)
