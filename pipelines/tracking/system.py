"""How busy this machine is, sampled beside a run."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from pipelines.tracking import service
from pipelines.tracking.async_logger import brief

_log = logging.getLogger(__name__)


class SystemSampler:
    """Passes MLflow's system metrics (CPU, memory, disk, network, GPU) to `record` now and then.

    MLflow's own monitor stops for good at the first request that fails; its readings are taken
    here, and go the way of all metrics.
    """

    def __init__(
        self, record: Callable[[dict[str, float]], None], *, interval_seconds: float = 10.0
    ) -> None:
        self._record, self._interval = record, interval_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and stop."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            monitor = service.system_monitor(self._interval)
            _read(monitor)  # the share of a CPU's time is counted since the reading before
            while not self._stopped.wait(monitor.sampling_interval):
                self._record(_read(monitor))
            self._record(_read(monitor))
        except Exception as error:
            _log.warning("no system metrics from here on: %s", brief(error))


def _read(monitor: Any) -> dict[str, float]:
    monitor.collect_metrics()
    values = {f"system/{k}": float(v) for k, v in monitor.aggregate_metrics().items()}
    for part in monitor.monitors:
        part.clear_metrics()
    return values
