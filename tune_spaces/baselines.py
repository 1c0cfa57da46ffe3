"""SimCLR and BYOL without r on any videos: what AdaSSL has to beat, tuned as hard."""

from tune_spaces import Choice, LogUniform, Space

SPACE = Space(
    title="InfoNCE and BYOL without r",
    recipe="videos",
    settings={"method.latent": "none"},
    sampled={
        "method.objective": Choice(values=("infonce", "byol"), why="the papers' two baselines"),
        "method.editor": Choice(
            values=("identity", "mlp"),
            why="plain, and with the editor that AdaSSL has: the control",
        ),
        "method.temperature": Choice(values=(0.05, 0.1, 0.2), why="of InfoNCE; BYOL has none"),
        "method.ema_momentum": Choice(
            values=(0.99, 0.996), why="of BYOL's target: the paper's, and a shorter run's"
        ),
        "optim.learning_rate": LogUniform(
            low=1e-4, high=3e-3, why="the paper's 1e-4 of long runs, up to what a short one needs"
        ),
    },
    metric="val/sweep_score",
    first=(
        {
            "method.objective": "infonce",
            "method.editor": "identity",
            "method.temperature": 0.1,
            "method.ema_momentum": 0.996,
            "optim.learning_rate": 2e-4,
        },
        {
            "method.objective": "byol",
            "method.editor": "identity",
            "method.temperature": 0.1,
            "method.ema_momentum": 0.996,
            "optim.learning_rate": 2e-4,
        },
    ),
)
