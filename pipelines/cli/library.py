"""`adassl embed` and `adassl search`: a library through a trained encoder, and what is alike."""

from typing import Annotated, Literal

import typer

from pipelines.cli.options import VideosRoot, console


def embed(
    run: Annotated[
        str, typer.Argument(help="A run's folder, such as runs/first or s3://bucket/runs/first.")
    ],
    index: Annotated[
        str, typer.Argument(help="The index of the library, of the run or any other.")
    ],
    out: Annotated[str, typer.Option(help="Folder of the embeddings: a path or a URI.")],
    stride: Annotated[
        float, typer.Option(help="Seconds between the starts of two clips of a video.")
    ] = 1.0,
    what: Annotated[
        Literal["h", "z", "both"],
        typer.Option(help="Representations, embeddings (as unit vectors), or both."),
    ] = "both",
    precision: Annotated[
        Literal["float16", "float32"], typer.Option(help="Of the numbers that are written.")
    ] = "float16",
    checkpoint: Annotated[
        Literal["newest", "best"], typer.Option(help="newest, or best (train.best_metric).")
    ] = "newest",
    videos_root: VideosRoot = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster; unset: RAY_ADDRESS, else this machine.")
    ] = None,
) -> None:
    """Embed every clip of a library at a stride, into Parquet: one row a clip.

    The same command again goes on where a killed one stopped, embeds videos that are new in the
    index, and tries those again that were skipped.
    """
    from pipelines.library.embed import embed as run_embed

    summary = run_embed(
        run,
        index,
        out,
        stride_seconds=stride,
        what=what,
        precision=precision,
        checkpoint=checkpoint,
        videos_root=videos_root,
        address=address,
        console=console,
    )
    for line in summary.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
