"""The command line: `adassl`, or `python -m pipelines`."""

import json
import os
import sys
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli import sweep as commands
from pipelines.cli.experiment import experiment
from pipelines.cli.options import Out, Set, VideosRoot, console, resolve

# What a command needs is imported in it, so that --help answers at once.

_RAYS_OWN = (
    r"core_worker\.cc.*constructor arguments in the object store|Failed to kill actor|"
    r"MapWorker.*infinite retries.*killed by `ray\.kill`"
)
QUIET_RAY = {
    "RAY_DATA_LOG_LEVEL": "ERROR",  # else a plan and a summary of each stream
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # else each line that a worker prints comes twice
    # Else lines that look alike, such as progress, are dropped. Those that are never shown are
    # Ray's own about actors of its own: each stream, a stream left early, and each end of a run.
    "RAY_DEDUP_LOGS_ALLOW_REGEX": f"^(?!.*({_RAYS_OWN}))",
    "RAY_DEDUP_LOGS_SKIP_REGEX": _RAYS_OWN,
    # Else a traceback, now and then, of statistics that Ray Data sends before it registers them.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}
"""What keeps Ray's processes from talking over ours; Ray reads it when it is imported."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
    help="""AdaSSL on Ray: learn representations from natural pairs of video frames.

    Three lines for a folder of your own videos:

        adassl data index ~/videos --out videos.parquet
        adassl train --index videos.parquet --name first
        adassl evaluate runs/first

    `adassl demo` shows it all on digits that it makes itself.""",
)
data_app = typer.Typer(no_args_is_help=True, help="Make or index videos.")
app.add_typer(data_app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"adassl {version('adassl')}", highlight=False)
        raise typer.Exit()


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


@data_app.command("moving-digits")
def moving_digits(
    out: Annotated[Path, typer.Argument(help="Folder for the videos and factors.parquet.")],
    num_videos: Annotated[int, typer.Option(help="Videos over all splits.", min=1)] = 2000,
    setting: Annotated[
        Literal["A", "B"],
        typer.Option(help="A: both axes change alike; B: by the digit."),
    ] = "A",
    num_frames: Annotated[int, typer.Option(help="Frames a scene; the law is of 9.", min=9)] = 9,
    scenes: Annotated[
        int, typer.Option(help="Scenes of a video, each with a digit of its own.", min=1)
    ] = 1,
    canvas: Annotated[int, typer.Option(help="Side in pixels.", min=16)] = 64,
    fps: Annotated[int, typer.Option(help="Frames per second of the files.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="The same seed makes the same videos.", min=0)] = 0,
) -> None:
    """Write stochastic moving digits as mp4 files, with their true factors beside them.

    A handwritten digit moves over the canvas; before the fourth frame the velocity along one axis
    changes at random (arXiv 2602.02381). Train and test split by the identity of the glyph.
    """
    from pipelines.sources.moving_digits import write_moving_digits

    summary = write_moving_digits(
        out,
        num_videos=num_videos,
        setting=setting,
        num_frames=num_frames,
        scenes=scenes,
        canvas=canvas,
        fps=fps,
        seed=seed,
        console=console,
    )
    console.print(f"{summary.num_videos} videos in {out}, factors in {out / 'factors.parquet'}")


@data_app.command("index")
def index(
    paths: Annotated[list[Path], typer.Argument(help="Folders and files.")],
    out: Annotated[
        str, typer.Option(help="The index to write or bring up to date: a path or a URI.")
    ] = "videos.parquet",
    val_share: Annotated[float, typer.Option(help="Share of videos for validation.")] = 0.1,
    test_share: Annotated[float, typer.Option(help="Share of videos for tests.")] = 0.1,
    timeout_seconds: Annotated[
        float, typer.Option(help="A file whose probe is silent for longer is skipped.")
    ] = 30.0,
    check: Annotated[
        Literal["auto", "full", "sample"],
        typer.Option(
            help="full: decode every frame; sample: read the container and decode some groups of "
            "pictures; auto: a sample of files above 64 MiB."
        ),
    ] = "auto",
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster whose nodes probe; unset: RAY_ADDRESS, else this one."),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="A table of labels that does not lie beside the videos. Repeatable."),
    ] = None,
    split_lists: Annotated[
        list[Path] | None,
        typer.Option(help="Lists such as trainlist01.txt, or their folder. Repeatable."),
    ] = None,
    fold: Annotated[
        int, typer.Option(help="Which of several divisions of split lists counts.", min=1)
    ] = 1,
    class_folders: Annotated[
        bool | None,
        typer.Option(
            help="Whether folders are classes; unset: where all videos lie in CLASS/ or "
            "SPLIT/CLASS/ and no table names them."
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="A column of the tables (session, person, track): one value, one split."),
    ] = None,
) -> None:
    """Look at every video once: what can be decoded, how, its labels, and its split.

    Labels and splits are taken from tables beside the videos (factors, labels, clips or frames,
    as .parquet or .csv), from split lists and class folders as UCF101, HMDB51 and Kinetics have
    them. What cannot be used stands in the index with the reason. A second run looks only at what
    is new or changed, and one that was killed goes on.
    """
    from pipelines.config.run import ClusterConfig
    from pipelines.video.given import LabelSources
    from pipelines.video.indexer import build_index

    on_cluster = address or os.environ.get("RAY_ADDRESS")
    summary = build_index(
        paths,
        out,
        val_share=val_share,
        test_share=test_share,
        timeout_seconds=timeout_seconds,
        labels=LabelSources(
            tables=tuple(map(str, labels or ())),
            lists=tuple(map(str, split_lists or ())),
            fold=fold,
            class_folders=class_folders,
            group=group,
        ),
        check=check,
        cluster=ClusterConfig(address=address) if on_cluster else None,
        console=console,
    )
    for line in summary.lines():
        console.print(line, markup=False, highlight=False)


@data_app.command("lerobot")
def lerobot(
    data_set: Annotated[Path, typer.Argument(help="The folder with meta, data and videos.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the episodes, their labels and videos.parquet.")
    ] = Path("lerobot"),
    camera: Annotated[
        list[str] | None, typer.Option(help="A camera to use; unset: all. Repeatable.")
    ] = None,
    group: Annotated[
        str, typer.Option(help="Episodes of one value of this label are in one split.")
    ] = "episode",
    val_share: Annotated[float, typer.Option(help="Share of episodes for validation.")] = 0.1,
    test_share: Annotated[float, typer.Option(help="Share of episodes for tests.")] = 0.1,
) -> None:
    """Take a LeRobot data set (version 2 or 3): videos of episodes, states, actions, tasks.

    Each episode becomes a video of its own, by a link or a cut, and stands in OUT/videos.parquet
    with its split: the one of meta/info.json where that names more than train, else by its group.
    """
    from pipelines.sources.lerobot import write_lerobot
    from pipelines.video.given import LabelSources
    from pipelines.video.indexer import build_index

    written = write_lerobot(data_set, out, cameras=camera or ())
    for name, reason in written.skipped.items():
        console.print(f"skipped {name}: {reason}", markup=False, highlight=False)
    cameras, labels = ", ".join(written.cameras), len(written.labels)
    console.print(f"{written.num_episodes} episodes, {labels} values a frame, cameras {cameras}")
    summary = build_index(
        [out / "videos"],
        out / "videos.parquet",
        val_share=val_share,
        test_share=test_share,
        labels=LabelSources(group=group),
        console=console,
    )
    for line in summary.lines():
        console.print(line, markup=False, highlight=False)


@app.command()
def train(
    name: Annotated[str, typer.Option(help="The run's name; the same name goes on.")] = "run",
    recipe: Annotated[
        str, typer.Option(help="A recipe to begin with: videos, video-frames, moving-digits, …")
    ] = "videos",
    index: Annotated[str | None, typer.Option(help="Short for --set data.index=…")] = None,
    videos_root: VideosRoot = None,
    workers: Annotated[
        int | None, typer.Option(help="Short for --set cluster.num_workers=…", min=1)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Short for --set train.steps=…", min=1)] = None,
    set_: Set = None,
    out: Out = "runs",
    evaluate: Annotated[bool, typer.Option(help="Evaluate on the test videos at the end.")] = True,
    show: Annotated[bool, typer.Option(help="Print the resolved settings and stop.")] = False,
) -> None:
    """Train an encoder on the pairs of an index's videos, on this machine or a Ray cluster.

    The same command again goes on from the newest checkpoint. Everything that may be set is shown
    by --show. A cluster is found by RAY_ADDRESS or cluster.address; without one, Ray starts here.
    """
    config = resolve(
        recipe, set_, index=index, videos_root=videos_root, workers=workers, steps=steps
    )
    if show:
        console.print_json(json.dumps(config.model_dump(mode="json")))
        return
    from pipelines.job import run_job  # heavy: a wrong setting is refused before it
    from pipelines.storage.folder import Folder
    from pipelines.storage.runs import RunFolder

    result = run_job(config, RunFolder(Folder(out).child(name)), with_evaluation=evaluate)
    _print_result(result)


@app.command()
def evaluate(
    run: Annotated[
        str, typer.Argument(help="A run's folder, such as runs/first or s3://bucket/runs/first.")
    ],
    checkpoint: Annotated[
        str, typer.Option(help="newest, or best (train.best_metric).")
    ] = "newest",
    pairs: Annotated[int, typer.Option(help="Pairs of each split to embed.", min=10)] = 2000,
    videos_root: VideosRoot = None,
    protocol: Annotated[
        Literal["probes", "full"],
        typer.Option(
            help="full: also the table of linear, kNN and attentive probes, retrieval and few "
            "labels, beside raw pixels, the untrained and the supervised encoder."
        ),
    ] = "probes",
    beside: Annotated[
        list[str] | None,
        typer.Option(help="Another run for the table of --protocol full. Repeatable."),
    ] = None,
) -> None:
    """Freeze a run's encoder and report what it knows, on videos never trained on.

    Linear and kNN probes of the labels beside the videos, if there are any; centre, residual,
    RankMe, alignment and uniformity; the use of r; and figures.
    """
    from pipelines.job import evaluate_job
    from pipelines.storage.runs import RunFolder

    result = evaluate_job(
        RunFolder(run),
        checkpoint=checkpoint,
        num_pairs=pairs,
        videos_root=videos_root,
        protocol=protocol,
        beside=[RunFolder(other) for other in beside or ()],
    )
    _print_result(result)
    if result.table is not None:
        _print_table(result.table)


app.command()(commands.sweep)
app.command("sweep-report")(commands.sweep_report)
app.command()(experiment)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("demo"),
) -> None:
    """Moving digits from nothing to a comparison: AdaSSL-V against the same recipe without r."""
    from pipelines.cli.demo import run_demo

    run_demo(out, console=console)


@app.command()
def doctor(
    address: Annotated[str | None, typer.Option(help="A Ray cluster to look at.")] = None,
) -> None:
    """Say what this machine and cluster can run, the versions, and what is missing."""
    from pipelines.cli.doctor import examine

    findings = examine(address)
    table = Table("what", "", "", show_header=False, box=None)
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}
    for finding in findings:
        table.add_row(finding.what, marks[finding.verdict], finding.text)
    console.print(table)
    if any(finding.verdict == "missing" for finding in findings):
        raise typer.Exit(1)


def _print_result(result: Any) -> None:
    from pipelines.training.learner import without_dimensions

    for name, value in sorted(without_dimensions(result.metrics).items()):
        if name.startswith("test/"):
            console.print(f"  {name:<44} {value:.4g}", highlight=False)
    console.print(f"run folder  {result.folder}", highlight=False, soft_wrap=True)
    pictures = result.folder.folder.child("figures")
    console.print(f"figures     {pictures}", highlight=False, soft_wrap=True)
    console.print(f"compare     {result.ui_command}", highlight=False, soft_wrap=True)


def _print_table(found: Any) -> None:
    for (factor, measure), part in found.groupby(["factor", "measure"], sort=False):
        shown = part.drop(columns=["factor", "measure"]).dropna(axis=1, how="all")
        table = Table(*map(str, shown.columns), title=f"{factor}, {measure}")
        for row in shown.itertuples(index=False):
            table.add_row(row[0], *("–" if v != v else f"{v:.3f}" for v in row[1:]))
        console.print(table)


def main() -> None:
    """Run the command line; what the user can mend is said in words, without a traceback."""
    from pipelines.errors import UserError

    for name, value in QUIET_RAY.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"  # we are written for the second version
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal or file that may not know every sign
            stream.reconfigure(errors="backslashreplace")
    try:
        app(standalone_mode=True)
    except UserError as error:
        say = Console(stderr=True)
        say.print("[red]error[/] ", end="")
        say.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
