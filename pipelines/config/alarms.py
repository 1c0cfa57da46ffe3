"""The thresholds of the alarms."""

from typing import Literal

from pipelines.config.fields import Amount, NonNegative, Positive, Record, Share

AlarmName = Literal[
    "collapse",
    "dimensional_collapse",
    "kl_collapse",
    "shortcut",
    "sparse_underused",
    "trivial_task",
]


class AlarmConfig(Record):
    """When a run is said to go wrong (`pipelines/training/alarms.py`), and what ends a trial."""

    from_step: NonNegative = 20
    """Steps at the start that no rule judges; rules about r wait for the end of warm-up too."""
    patience: Positive = 3
    """Logged steps in a row at which a rule must hold; validations in a row for shortcut and
    trivial_task."""
    collapse_centre: Share = 0.99
    """‖s‖ above which, with the two below, all has collapsed; alone it is no proof."""
    collapse_residual: Share = 0.03
    """Mean residual below which it has. Sound encoders came as low as 0.038, at temperature 0.002
    (docs/numerical.md); what collapses goes to 0.00."""
    collapse_rankme_power: Share = 0.25
    """Uncentred RankMe below the number of dimensions to this power: 1.7 of 8, 3.4 of 128. The same
    small residual makes the more RankMe the more dimensions it lies in."""
    dimensional_share: Share = 0.25
    """RankMe below this share of the run's best so far is a dimensional collapse."""
    latent_nats: Amount = 0.05
    """KL of the whole r below which it is not used."""
    shortcut_share: Share = 0.3
    """Next-clip log-likelihood below this share of the one with r from the posterior, which
    has seen the next clip, is a shortcut."""
    shortcut_active_share: Share = 0.8
    """Of a sparse r more than this share of the dimensions must be active besides. Sound ones had 4
    to 5 of 16 (docs/numerical.md), with β = 0 all of them."""
    sparse_active: Amount = 0.5
    """E‖r‖₀ below which a sparse r is underused."""
    sparse_entropy_share: Share = 0.1
    """H(ρ) below this share of log(latent_dim) likewise."""
    trivial_loss: Amount = 0.05
    """Loss of an objective with negatives below which they are all told apart."""
    trivial_nats: Amount = 0.1
    """Next-clip log-likelihood within videos below which, that being so, the task is trivial."""
    stop: tuple[AlarmName, ...] = ("collapse",)
    """Alarms that end a trial of a sweep; a run of its own is never ended."""
