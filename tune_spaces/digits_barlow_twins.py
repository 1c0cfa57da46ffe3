"""Barlow Twins on moving digits: its λ, with the learning rate."""

from tune_spaces import LogUniform, Space

SPACE = Space(
    title="Barlow Twins on moving digits",
    recipe="digits-barlow-twins",
    sampled={
        "method.off_diagonal_weight": LogUniform(
            low=5e-4, high=0.1, why="ten times below and twenty above the paper's 0.005"
        ),
        "optim.learning_rate": LogUniform(
            low=3e-4, high=1e-2, why="a short run wants more than the 1e-4 of long ones"
        ),
    },
    metric="val/next_clip_nats",
    first=(
        {
            "method.off_diagonal_weight": 0.02,
            "optim.learning_rate": 0.002,
        },
    ),
)
