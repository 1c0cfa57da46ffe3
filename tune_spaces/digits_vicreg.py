"""VICReg on moving digits: the weights of its three terms, with the learning rate."""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="VICReg on moving digits",
    recipe="digits-vicreg",
    sampled={
        "method.invariance_weight": Choice(
            values=(5.0, 25.0, 50.0), why="the paper's 25; only the ratios to the others matter"
        ),
        "method.covariance_weight": Choice(
            values=(0.1, 1.0, 10.0), why="the paper's 1, and ten times either way"
        ),
        "optim.learning_rate": LogUniform(
            low=3e-4, high=1e-2, why="a short run wants more than the 1e-4 of long ones"
        ),
    },
    metric="val/next_clip_nats",
    first=(
        {
            "method.invariance_weight": 25.0,
            "method.covariance_weight": 10.0,
            "optim.learning_rate": 0.002,
        },
    ),
)
