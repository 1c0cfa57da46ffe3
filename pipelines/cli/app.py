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

from pipelines.cli import library
from pipelines.cli import surprise as surprises
from pipelines.cli import sweep as commands
from pipelines.cli.data import data_app
from pipelines.cli.experiment import experiment
from pipelines.cli.export import export, probe
from pipelines.cli.options import Out, Set, VideosRoot, console, resolve
from pipelines.cli.report import report

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


@app.command()
def train(
    name: Annotated[str, typer.Option(help="The run's name; the same name goes on.")] = "run",
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe to begin with: videos, video-frames, moving-digits, images, …; unset: "
            "by what the index holds."
        ),
    ] = None,
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
app.command()(library.embed)
app.command()(library.search)
app.command()(surprises.surprise)
app.command()(surprises.futures)
app.command()(export)
app.command()(probe)
app.command()(report)


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
    from pipelines.training.metrics import without_dimensions

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
