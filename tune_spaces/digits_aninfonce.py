"""AnInfoNCE on moving digits: its temperature, with the learning rate."""

from tune_spaces import LogUniform, Space

SPACE = Space(
    title="AnInfoNCE on moving digits",
    recipe="digits-aninfonce",
    sampled={
        "method.temperature": LogUniform(
            low=0.03, high=0.5, why="its weights of the dimensions scale it further, once learnt"
        ),
        "optim.learning_rate": LogUniform(
            low=3e-4, high=1e-2, why="a short run wants more than the 1e-4 of long ones"
        ),
    },
    metric="val/next_clip_nats",
    first=(
        {
            "method.temperature": 0.1,
            "optim.learning_rate": 0.002,
        },
    ),
)
