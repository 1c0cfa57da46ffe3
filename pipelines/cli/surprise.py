"""`adassl surprise` and `adassl futures`: what came unexpected, and what may come."""

from typing import Annotated, Literal

import typer
from rich.table import Table

from pipelines.cli.options import VideosRoot, console

Run = Annotated[
    str, typer.Argument(help="A run's folder, such as runs/first or s3://bucket/runs/first.")
]
Stride = Annotated[
    float | None,
    typer.Option(help="Seconds between two moments of a video; unset: the run's gap."),
]
Samples = Annotated[int, typer.Option(help="Futures sampled of each moment.", min=1, max=4096)]
Checkpoint = Annotated[
    Literal["newest", "best"], typer.Option(help="newest, or best (train.best_metric).")
]
Address = Annotated[
    str | None, typer.Option(help="A Ray cluster; unset: RAY_ADDRESS, else this machine.")
]


def surprise(
    run: Run,
    index: Annotated[
        str, typer.Argument(help="The index of the library, of the run or any other.")
    ],
    out: Annotated[str, typer.Option(help="Folder of the results: a path or a URI.")],
    stride: Stride = None,
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option(help="Only videos of one split; unset: all."),
    ] = None,
    top: Annotated[int, typer.Option(help="Moments on the page.", min=1, max=500)] = 20,
    samples: Samples = 64,
    checkpoint: Checkpoint = "newest",
    videos_root: VideosRoot = None,
    address: Address = None,
) -> None:
    """Find the moments of a library at which what came next was not what the run expected.

    OUT/surprise.parquet has a row for each moment, OUT/surprise.html the top moments and curves.
    """
    from pipelines.library.surprise import PAGE, TABLE
    from pipelines.library.surprise import surprise as find

    summary = find(
        run,
        index,
        out,
        stride_seconds=stride,
        split=split,
        top=top,
        num_samples=samples,
        checkpoint=checkpoint,
        videos_root=videos_root,
        address=address,
        console=console,
    )
    table = Table("nats", "video", "seconds", "frame difference", "|z − z⁺|")
    for row in summary.top.head(10).itertuples():
        table.add_row(
            f"{row.surprise_nats:.1f}",
            str(row.path),
            f"{row.start_seconds:.2f} → {row.next_seconds:.2f}",
            f"{row.frame_difference:.1f}",
            f"{row.embedding_distance:.2f}",
        )
    console.print(table)
    for line in summary.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for what, name in (("table", TABLE), ("page ", PAGE)):
        console.print(f"{what}  {summary.out}/{name}", highlight=False, soft_wrap=True)


def futures(
    run: Run,
    moment: Annotated[
        str, typer.Argument(help="A moment, such as video.mp4@12.5; any video, indexed or not.")
    ],
    index: Annotated[
        str | None, typer.Option(help="The library of real clips; unset: the run's own index.")
    ] = None,
    out: Annotated[str, typer.Option(help="Folder of the results: a path or a URI.")] = "futures",
    samples: Samples = 64,
    show: Annotated[int, typer.Option(help="Futures to show.", min=1, max=50)] = 6,
    stride: Stride = None,
    checkpoint: Checkpoint = "newest",
    videos_root: VideosRoot = None,
    address: Address = None,
) -> None:
    """Show what may follow a moment: sampled futures, as the nearest real clips of a library.

    OUT/futures.html and OUT/futures.png have the moment, what came, and the futures.
    """
    from pipelines.library.futures import PAGE, PICTURE
    from pipelines.library.futures import futures as sample

    summary = sample(
        run,
        moment,
        out,
        index=index,
        num_samples=samples,
        show=show,
        stride_seconds=stride,
        checkpoint=checkpoint,
        videos_root=videos_root,
        address=address,
        console=console,
    )
    table = Table("probability", "video", "seconds")
    for future in summary.futures:
        table.add_row(f"{future.share:.0%}", future.path, f"{future.seconds:.2f}")
    console.print(table)
    for line in summary.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for what, name in (("page   ", PAGE), ("picture", PICTURE)):
        console.print(f"{what}  {summary.out}/{name}", highlight=False, soft_wrap=True)
