"""Runs in MLflow. mlflow is imported in this package only, and only when it is first used.

    start (driver), attach (worker) ─► Tracker ─► AsyncLogger ─► one thread ─► service ─► MLflow

A server that is away stops nothing, slows nothing and loses nothing that fits its buffer.
"""

from pipelines.tracking.provenance import device_tags, standard_tags
from pipelines.tracking.registry import CHAMPION, Judged, Registered, register_encoder
from pipelines.tracking.tracker import Status, Tracker, aliases
from pipelines.tracking.uri import TrackingError, default_uri, resolve_uri, ui_command
from pipelines.tracking.watchdog import run_watchdog

__all__ = [
    "CHAMPION",
    "Judged",
    "Registered",
    "Status",
    "Tracker",
    "TrackingError",
    "aliases",
    "default_uri",
    "device_tags",
    "register_encoder",
    "resolve_uri",
    "run_watchdog",
    "standard_tags",
    "ui_command",
]
