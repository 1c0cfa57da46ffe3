"""`adassl report`: a page about a run or an exported encoder."""

from typing import Annotated

import typer

from pipelines.cli.options import VideosRoot, console


def report(
    run: Annotated[
        str,
        typer.Argument(help="A run's folder, such as runs/first or s3://…, or an exported one."),
    ],
    out: Annotated[
        str | None, typer.Option(help="The HTML file; without it report.html in the run's folder.")
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="newest, or best (train.best_metric).")
    ] = "newest",
    moments: Annotated[
        int, typer.Option(help="Moments of test videos to look at.", min=10, max=2000)
    ] = 300,
    index: Annotated[
        str | None, typer.Option(help="The library to look at, for an exported encoder.")
    ] = None,
    videos_root: VideosRoot = None,
) -> None:
    """Write one page about a run or an exported encoder: to look at, to keep, to send.

    It needs no network.

    What it was trained on, curves and alarms, probes, collapse, the use of r, a map of moments with
    their pictures, neighbours, sampled futures and surprises. Of an exported encoder its model
    card, the map and the neighbours.
    """
    from pipelines.library.report import report as write_report

    where = write_report(
        run,
        out=out,
        checkpoint=checkpoint,
        num_moments=moments,
        index=index,
        videos_root=videos_root,
    )
    console.print(f"report  {where}", highlight=False, soft_wrap=True)
