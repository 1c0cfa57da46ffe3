"""`adassl train`: index → plan → cluster → training → figures → evaluation → MLflow."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adassl.backbones import Backbone, load_weights
from adassl.method import Method
from pipelines import figures, tracking
from pipelines.cluster import Demand, connected, joins
from pipelines.config.backbone import BackboneConfig
from pipelines.config.data import DataConfig
from pipelines.config.run import ConfigError, RunConfig, with_overrides, with_videos_root
from pipelines.evaluation.evaluate import Evaluation, evaluate
from pipelines.evaluation.protocol import compare, metrics_of
from pipelines.pairs.plan import find, plan
from pipelines.pairs.table import about_of
from pipelines.storage.folder import absolute
from pipelines.storage.runs import RunFolder, last_metrics, newest_state
from pipelines.storage.weights import backbone_weights
from pipelines.tracking import Tracker
from pipelines.training.build import build, input_shape
from pipelines.training.group import train
from pipelines.training.learner import MakeMethod
from pipelines.training.loop import History
from pipelines.training.tracked import tracked
from pipelines.training.worker import Fit
from pipelines.video.stream import pin_data_actors_here


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """Where everything of a finished job is."""

    folder: RunFolder
    metrics: dict[str, float]
    ui_command: str
    table: pd.DataFrame | None = None
    """Of the full protocol."""


def train_and_evaluate(
    config: RunConfig,
    folder: RunFolder,
    *,
    training: AbstractContextManager[Fit],
    tracked: AbstractContextManager[Tracker],
    evaluate: Callable[[Tracker], Mapping[str, float]],
    final: Callable[[dict[str, float]], dict[str, float]] = dict,
) -> dict[str, float]:
    """Train a registered run to its last step, evaluate it, and write down its final metrics.

    The one way from a config to results: of `adassl train`, and of every trial of a sweep or an
    experiment.

    Args:
        config: of the run.
        folder: registered for the config.
        training: entered before the run in MLflow is made, so that decoders start meanwhile, and
            left before the evaluation, which may want their places. Not entered where the training
            has ended before.
        tracked: the run in MLflow, open from here to the end.
        evaluate: metrics of the newest checkpoint in the folder.
        final: makes the final metrics of all that are known; it may refuse them.

    Returns:
        The final metrics: the newest of the training and those of the evaluation.
    """
    if folder.checkpoints.step() == config.train.steps:
        print(f"{folder.name} had finished: {config.train.steps} steps", flush=True)
        training = nullcontext(lambda _: _newest(folder)["history"])
    with ExitStack() as stack:
        with training as fit:
            tracker = stack.enter_context(tracked)
            known = last_metrics(fit(tracker))
        metrics = final({**evaluate(tracker), **known})
        new = {name: value for name, value in metrics.items() if name not in known}
        tracker.log_metrics(new, config.train.steps)
        tracker.log_file(folder.add_to_summary(metrics))
    return metrics


def run_job(
    config: RunConfig,
    folder: RunFolder,
    *,
    with_evaluation: bool = True,
    make_method: MakeMethod | None = None,
) -> JobResult:
    """Train, or go on where the same command stopped, and evaluate.

    `make_method` takes the place of what the config describes; Ray brings it to the workers, so it
    may stand in the script that calls this.

    Raises:
        UserError: before anything starts, for whatever cannot work.
        KeyboardInterrupt: on Ctrl-C or SIGTERM.
    """
    config = with_absolute_index(config)
    uri = tracking.resolve_uri(config.tracking.uri, folder.folder.parent.local)
    videos = plan(config)
    for line in videos.lines():
        print(line, flush=True)
    if make_method is None:
        check_backbone(config)
    ui_command = tracking.ui_command(uri)
    with ExitStack() as stack:
        stack.enter_context(folder.registered(config, videos.digest))
        if done := _results(config, folder, with_evaluation=with_evaluation):
            return JobResult(folder=folder, metrics=done, ui_command=ui_command)
        demand = stack.enter_context(connected(config.cluster))
        stack.enter_context(stoppable())
        guard = stack.enter_context(tracking.run_watchdog())
        if joins(config.cluster):
            pin_data_actors_here()

        def fit(tracker: Tracker) -> History:
            guard(tracker.uri, tracker.run_id)
            return train(config, folder, demand, tracker, make_method=make_method)

        def evaluated(tracker: Tracker) -> dict[str, float]:
            log_training(config, folder, tracker, method=(make_method or build)(config))
            if not with_evaluation:
                return {}
            print("evaluating on the test videos", flush=True)
            try:
                done = evaluate(folder, num_decoders=_decoders(demand), make_method=make_method)
            except ConfigError as error:  # the training is complete all the same
                print(f"not evaluated: {error}", flush=True)
                return {}
            return log_evaluation(done, tracker)

        metrics = train_and_evaluate(
            config,
            folder,
            training=nullcontext(fit),
            tracked=tracked(config, folder, videos, uri),
            evaluate=evaluated,
        )
    return JobResult(folder=folder, metrics=metrics, ui_command=ui_command)


def _results(
    config: RunConfig, folder: RunFolder, *, with_evaluation: bool
) -> dict[str, float] | None:
    """The final metrics of a run of which nothing is left to do; else None."""
    record = folder.record()
    if folder.checkpoints.step() != config.train.steps or not (record and record.mlflow_run_id):
        return None
    summary = folder.summary()
    if with_evaluation and not any(name.startswith("test/") for name in summary):
        return None
    if summary:
        print(f"{folder.name} had finished: {config.train.steps} steps", flush=True)
    return summary or None


def check_backbone(config: RunConfig) -> None:
    """Build a run's backbone once, here, and give it the weights that it starts from.

    Raises:
        ConfigError: if it cannot be built, or the weights are none or another backbone's.
    """
    place = ""
    try:
        method = build(config)
        encoders = {"backbone": method.encoder, "second_backbone": method.second_encoder}
        for group, encoder in encoders.items():
            where = getattr(config, group).init_from
            if encoder is not None and where:
                place = f"{group}.init_from={where}: "
                assert isinstance(encoder.backbone, Backbone)
                load_weights(encoder.backbone, backbone_weights(where))
    except (ValueError, ImportError) as error:
        raise ConfigError(f"{place}{error}") from error


def evaluate_job(
    folder: RunFolder,
    *,
    checkpoint: str = "newest",
    num_pairs: int = 2000,
    videos_root: str | None = None,
    protocol: Literal["probes", "full"] = "probes",
    beside: Sequence[RunFolder] = (),
) -> JobResult:
    """Evaluate a finished or stopped run, into its folder and its MLflow run.

    With the full protocol also by the table of `pipelines.evaluation.protocol`, with other runs
    beside it.
    """
    config, record = with_videos_root(folder.config(), videos_root), folder.record()
    assert record is not None
    find(config.data)  # that videos are missing is said before Ray starts
    with connected(config.cluster) as demand, stoppable():
        done = evaluate(
            folder,
            checkpoint=checkpoint,
            num_pairs=num_pairs,
            num_decoders=_decoders(demand),
            videos_root=videos_root,
        )
        table = None
        if protocol == "full":
            table = compare(
                folder,
                beside=beside,
                checkpoint=checkpoint,
                num_pairs=num_pairs,
                num_decoders=_decoders(demand),
                videos_root=videos_root,
            )
            done = replace(done, metrics={**done.metrics, **metrics_of(table)})
    summary = folder.add_to_summary(done.metrics)
    uri = record.tracking_uri or tracking.resolve_uri(
        config.tracking.uri, folder.folder.parent.local
    )
    if record.mlflow_run_id:
        with Tracker.attach(uri, record.mlflow_run_id) as tracker:
            tracker.log_metrics(log_evaluation(done, tracker), config.train.steps)
            tracker.log_file(summary)
    return JobResult(
        folder=folder, metrics=done.metrics, ui_command=tracking.ui_command(uri), table=table
    )


def with_absolute_index(config: RunConfig) -> RunConfig:
    """The config with absolute paths: workers run in other directories."""
    root = config.data.videos_root
    return with_overrides(
        config,
        {
            "data.index": absolute(config.data.index),
            "data.videos_root": None if root is None else absolute(root),
        },
    )


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM, as `ray job stop` sends it, end the job in order.

    To be entered once Ray is up, which sets handlers of its own. Ray Train answers Ctrl-C by
    aborting its workers and then SystemExit(0): not how a job that was stopped should end.
    """
    message = "stopped; the same command goes on from the newest checkpoint"
    was_printed = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal was_printed
        os.write(1, f"{message}\n".encode())  # at once: `ray job stop` leaves 3 s
        was_printed = True
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as error:
        if not was_printed:
            print(message, flush=True)
        raise KeyboardInterrupt from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_training(config: RunConfig, folder: RunFolder, tracker: Tracker, *, method: Method) -> None:
    """Pictures of the training (its pairs, its losses, its centre) and the encoder, to MLflow."""
    state = _newest(folder)
    sheet = {name: views.numpy() for name, views in state["sheet"].items()}
    what = "video" if about_of(config.data.index) is None else "group"
    captions = [f"{what} {number}" for number in sheet["video"]]
    pictures = []
    if sheet["context"].dtype == sheet["target"].dtype == np.uint8:  # and no texts
        pictures.append(
            figures.pairs_sheet(
                sheet["context"],
                sheet["target"],
                sheet.get("surrogate"),
                captions,
                folder.figures / "pairs.png",
            )
        )
    pictures += [
        figures.loss_terms(state["history"], folder.figures / "loss.png"),
        figures.collapse(state["history"], folder.figures / "collapse.png"),
    ]
    folder.publish()
    for picture in pictures:
        tracker.log_file(picture, "figures")
    method.load_state_dict(state["method"])
    tracker.log_encoder(method.encoder.backbone.eval(), example_of(config.backbone, config.data))
    if method.second_encoder is not None:
        example = example_of(config.second_backbone, config.data)
        tracker.log_encoder(method.second_encoder.backbone.eval(), example, "second_encoder")


def example_of(backbone: BackboneConfig, data: DataConfig) -> NDArray[Any]:
    """Two samples as a backbone reads them."""
    shape = 2, *input_shape(backbone, data)
    return np.ones(shape, np.int64) if backbone.reads_text else np.zeros(shape, np.float32)


def log_evaluation(done: Evaluation, tracker: Tracker) -> dict[str, float]:
    """The metrics of an evaluation, its pictures sent to MLflow."""
    for picture in done.pictures:
        tracker.log_file(picture, "figures")
    return done.metrics


def _newest(folder: RunFolder) -> dict[str, Any]:
    state = newest_state(folder)
    assert state is not None, "a training that ended has a checkpoint"
    return state


def _decoders(demand: Demand) -> int:
    """Decoders of an evaluation: the training's workers have gone by then."""
    return max(1, demand.num_decoders)
