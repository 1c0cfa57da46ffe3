"""SimSiam on moving digits: weight decay and learning rate."""

from tune_spaces import LogUniform, Space

SPACE = Space(
    title="SimSiam on moving digits",
    recipe="digits-simsiam",
    sampled={
        "optim.weight_decay": LogUniform(
            low=1e-5, high=1e-1, why="the predictor's decay keeps what it passes on balanced"
        ),
        "optim.learning_rate": LogUniform(
            low=3e-4, high=1e-2, why="a short run wants more than the 1e-4 of long ones"
        ),
    },
    metric="val/next_clip_nats",
    first=(
        {
            "optim.weight_decay": 0.0001,
            "optim.learning_rate": 0.005,
        },
    ),
)
