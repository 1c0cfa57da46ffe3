"""What happens to the trials, as the driver sees it: kept in the store, in MLflow, and printed."""

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import ray
from ray import tune

from pipelines.cluster import Demand, is_room, node_resources
from pipelines.config.run import ClusterConfig
from pipelines.errors import UserError
from pipelines.tracking import Status, Tracker
from pipelines.training.alarms import raised_in
from pipelines.trials.records import TrialRecord, TrialState, ranked, scores
from pipelines.trials.store import TrialStore
from pipelines.trials.trial import ERROR_FILE, STALLS_FILE

RunStatus = dict[TrialState, Status]
_STATUS: RunStatus = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_WAITING_LINE_SECONDS = 60.0
_LONGEST_TAG = 4000
"""Characters of a tag in MLflow."""
_ALIKE = 3
"""When so many trials fail for one reason before any has ended well, the sweep fails."""


class NothingMovesError(UserError, RuntimeError):
    """No trial runs, and none can be started."""


class AllFailAlikeError(UserError, RuntimeError):
    """The first trials have all failed, for the same reason."""


class TrialCallback(tune.Callback):
    """Keeps the store up to date while Tune runs the trials."""

    def __init__(
        self,
        store: TrialStore,
        tracker: Tracker,
        demand: Demand,
        cluster: ClusterConfig,
        *,
        total: int,
        at_once: int,
    ) -> None:
        """`total` trials in all, `at_once` of them side by side, each with this demand."""
        assert store.sweep is not None
        self._store, self._sweep, self._tracker = store, store.sweep, tracker
        self._demand, self._total, self._at_once = demand, total, at_once
        self._stall = cluster.stall_minutes * 60
        self._patience = max(cluster.stall_minutes, cluster.wait_minutes) * 60
        self._moved = self._last_line = time.monotonic()
        self._began: dict[str, float] = {}
        self._last_report: dict[str, float] = {}
        self._ended: list[TrialRecord] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps a copy of it to restore a sweep by, which the store does for us."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A process for the trial is up, its first or one in place of a lost one."""
        name = trial.config["name"]
        self._began[name] = self._moved = self._last_report[name] = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A report of the trial: a step, a validation, or how it ended."""
        before = self._record(trial)
        self._moved = self._last_report[before.name] = time.monotonic()
        step, first = max(before.step, int(result["step"])), before.first_step_seconds
        if first is None and before.started is not None:
            first = time.time() - before.started
        record = replace(
            before,
            step=step,
            num_steps=int(result["num_steps"]),
            first_step_seconds=first,
            metrics={**before.metrics, **result["metrics"]},
            mlflow_run_id=result["mlflow_run_id"],
        )
        if "validation" in result:
            validations = {**record.validations, step: float(result["validation"])}
            record = replace(record, validations=validations)
            print(self._line(record), flush=True)
        if result["outcome"]:
            record = replace(record, state=result["outcome"], reason=result["reason"])
        self._store.trials[record.name] = record
        if "validation" in result:
            self._store.write(record)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune is done with the trial: it said how it ended, or ASHA ended it."""
        record = self._record(trial)
        alarms = raised_in(record.metrics, self._sweep.config["alarms"]["stop"])
        if record.state == "running" and alarms:
            reason = f"alarm: {', '.join(alarms).replace('_', ' ')} by step {record.step}"
            record = replace(record, state="pruned", reason=reason)
        elif record.state == "running":
            step = max(record.validations, default=0)
            score = record.validations.get(step, float("nan"))
            reason = (
                f"ASHA: {self._sweep.metric} {score:.4g} at step {step} was not among the best "
                "third of the trials that came as far"
            )
            record = replace(record, state="pruned", reason=reason)
        self._end(record)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's process was lost; Tune starts another, which goes on from the checkpoint."""
        name, why = self._record(trial).name, self._why(trial)
        where = f"the whole text: {self._store.trial_folder(name)}/{ERROR_FILE}"
        print(f"{name}: {why}; going on from its checkpoint ({where})", flush=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's process was lost once too often."""
        record = self._record(trial)
        self._end(replace(record, state="failed", reason=self._why(trial)))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """See that everything moves: no trial may hang, or wait for ever for a place.

        Raises:
            NothingMovesError: which ends the sweep; the same command continues it.
        """
        running = [trial for trial in trials if trial.status == "RUNNING"]
        silent = [trial for trial in running if self._silence(trial) > self._stall]
        if silent:
            self._end_silent(silent, running)
        if running:
            self._moved = time.monotonic()
            return
        waited = time.monotonic() - self._moved
        if waited > self._patience:
            raise NothingMovesError(
                f"no trial could be started for {waited / 60:.1f} minutes: the cluster has no "
                "free place for one (`ray status` shows who holds it). The same command goes on"
            )
        if (
            waited > _WAITING_LINE_SECONDS
            and time.monotonic() - self._last_line > _WAITING_LINE_SECONDS
        ):
            self._last_line = time.monotonic()
            print(f"waiting {waited:.0f} s for a place in the cluster for a trial", flush=True)

    def _record(self, trial: Any) -> TrialRecord:
        return self._store.trials[trial.config["name"]]

    def _silence(self, trial: Any) -> float:
        return time.monotonic() - self._last_report[trial.config["name"]]

    def _end_silent(self, silent: list[Any], running: list[Any]) -> None:
        """End the trials that hang, but blame none for nodes that were lost.

        Raises:
            NothingMovesError: if the cluster has not held a trial for too long.
        """
        nodes = node_resources()
        if is_room([self._demand] * len(running), nodes):
            for trial in silent:
                self._kill(trial)
        elif not is_room([self._demand], nodes):
            if min(map(self._silence, running)) > self._patience:
                raise NothingMovesError(
                    f"no trial has moved for {self._patience / 60:.1f} minutes: the cluster has "
                    f"lost nodes, and what is left does not hold {self._demand}. "
                    "The same command goes on"
                )
        elif len(silent) < len(running):
            for trial in silent:  # until another has ended
                self._last_report[trial.config["name"]] = time.monotonic()
                print(f"{trial.config['name']}: waits: nodes were lost", flush=True)
        else:  # each holds what the others wait for
            self._last_report[silent[0].config["name"]] = time.monotonic()
            ray.kill(silent[0].temporary_state.ray_actor)

    def _kill(self, trial: Any) -> None:
        """End a process that reports nothing; Tune starts another, up to the trial's limit."""
        record = self._record(trial)
        self._last_report[record.name] = time.monotonic()
        stalled = f"no progress for {self._stall:.0f} s after step {record.step}"
        print(f"{record.name}: {stalled}; its process is ended", flush=True)
        folder = self._store.trial_folder(record.name)
        before = folder.read_text(STALLS_FILE) or ""
        folder.write_text(STALLS_FILE, f"{before}{stalled}\n")
        ray.kill(trial.temporary_state.ray_actor)

    def _line(self, record: TrialRecord) -> str:
        """A trial at a validation: where it is, how good, how fast."""
        known = record.metrics
        shown = [self._sweep.metric, "train/loss", "train/kl", "train/l0"]
        terms = [
            f"{name.removeprefix('train/')} {known[name]:.4g}" for name in shown if name in known
        ]
        speed = f"{known['time/pairs_per_second']:.0f} pairs/s"
        return "  ".join([record.name, f"step {record.step}/{record.num_steps}", *terms, speed])

    def _why(self, trial: Any) -> str:
        """Why the trial's process was lost, in a line; the whole text goes to its folder."""
        text = str(trial.get_error() or "its process died").strip()
        self._store.trial_folder(trial.config["name"]).write_text(ERROR_FILE, text + "\n")
        return text.splitlines()[-1].strip()

    def _end(self, record: TrialRecord) -> None:
        began = self._began.pop(record.name, None)
        seconds = record.seconds + (time.monotonic() - began if began else 0.0)
        failures = record.failures + (record.state == "failed")
        record = replace(record, seconds=seconds, failures=failures)
        self._store.write(record)
        if record.mlflow_run_id:
            tags = {"adassl.state": record.state, "adassl.reason": record.reason[:_LONGEST_TAG]}
            self._tracker.end_other(record.mlflow_run_id, _STATUS[record.state], tags)
        why = f" ({record.reason})" if record.reason else ""
        folder = self._store.trial_folder(record.name)
        if record.state == "failed" and folder.exists(ERROR_FILE):
            why += f"; the whole text: {folder}/{ERROR_FILE}"
        print(f"{record.name}  {record.state}{why}", flush=True)
        print(self.summary(), flush=True)
        self._ended.append(record)
        reasons = {each.reason for each in self._ended if each.state == "failed"}
        if len(self._ended) == _ALIKE and len(reasons) == 1 and not self._any_ended_well():
            raise AllFailAlikeError(
                f"the first {_ALIKE} trials failed alike: {record.reason}. Once that is fixed, "
                "the same command tries them again"
            )

    def _any_ended_well(self) -> bool:
        return any(trial.has_ended for trial in self._store.all_trials())

    def summary(self) -> str:
        """How far the sweep is, how good the best setting, and how long the rest will take."""
        trials = self._store.all_trials()
        states = Counter(trial.state for trial in trials)
        done = states["finished"] + states["pruned"] + states["failed"]
        parts = [f"{states[s]} {s}" for s in ("finished", "pruned", "failed") if states[s]]
        best = ranked(scores(trials, self._sweep.metric), self._sweep.mode)
        score = ""
        if best:
            sd = "" if best[0].sd is None else f" ± {best[0].sd:.2g}"
            score = (
                f", best {self._sweep.metric} {best[0].mean:.4g}{sd} (setting {best[0].setting})"
            )
        ended = [t.seconds for t in trials if t.seconds and t.state != "running"]
        left = ""
        if ended and done < self._total:
            seconds = (self._total - done) * sum(ended) / len(ended) / self._at_once
            left = f", about {seconds / 60:.0f} min left"
        return f"{done}/{self._total} trials: {', '.join(parts) or 'none yet'}{score}{left}"
