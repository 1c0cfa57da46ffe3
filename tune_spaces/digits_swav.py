"""SwAV on moving digits: prototypes, smoothness and queue, with the learning rate."""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="SwAV on moving digits",
    recipe="digits-swav",
    sampled={
        "method.num_prototypes": Choice(
            values=(30, 100, 300, 1000), why="the paper's 3000 are ten for each of its classes"
        ),
        "method.sinkhorn_epsilon": Choice(
            values=(0.03, 0.05, 0.1), why="the paper's 0.05, and sharper and softer codes"
        ),
        "method.queue_size": Choice(
            values=(0, 1024), why="none, or some batches more to balance the codes over"
        ),
        "optim.learning_rate": LogUniform(
            low=3e-4, high=1e-2, why="a short run wants more than the 1e-4 of long ones"
        ),
    },
    metric="val/next_clip_nats",
    first=(
        {
            "method.num_prototypes": 300,
            "method.sinkhorn_epsilon": 0.05,
            "method.queue_size": 0,
            "optim.learning_rate": 0.002,
        },
    ),
)
