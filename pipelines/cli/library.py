"""`adassl embed` and `adassl search`: a library through a trained encoder, and what is alike."""

import json
from dataclasses import asdict
from itertools import takewhile
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from pipelines.cli.options import VideosRoot, console
from pipelines.numbers import MISSING


def embed(
    run: Annotated[
        str, typer.Argument(help="A run's folder, such as runs/first or s3://bucket/runs/first.")
    ],
    index: Annotated[
        str, typer.Argument(help="The index of the library, or a table of pairs, any.")
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

    Of a table of pairs every entry, once however many pairs hold it.

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


def search(
    embeddings: Annotated[str, typer.Argument(help="What `adassl embed` wrote: its --out.")],
    query: Annotated[
        list[str] | None,
        typer.Argument(
            help="A moment, video.mp4@12.5 (seconds); a video, of which the middle is taken; or an "
            "image. Videos of the library may be named by the end of their path. Where a table of "
            "pairs was embedded: a text or a file. Repeatable."
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Results of each query.", min=1)] = 10,
    by: Annotated[
        Literal["h", "z"] | None,
        typer.Option(help="Compare representations or embeddings; unset: z where there are any."),
    ] = None,
    path: Annotated[
        str | None, typer.Option(help="Only videos whose path ends so: a pattern, as cam1/*.mp4.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only videos of train, val or test.")] = None,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="Only other videos than that of the query.")
    ] = False,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="No query: find the same footage in two videos.")
    ] = False,
    threshold: Annotated[
        float, typer.Option(help="With --duplicates: the cosine above which clips match.")
    ] = 0.98,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[
        str | None, typer.Option(help="Also write a page with the frames: one file.")
    ] = None,
) -> None:
    """Find the moments of a library that are most like a moment, a video or an image."""
    from pipelines.config.run import ConfigError

    if duplicates == bool(query):
        raise ConfigError("search: give queries, such as video.mp4@12.5, or --duplicates")
    if duplicates and (path or split or elsewhere):
        raise ConfigError("--duplicates looks at all of a library: leave out the filters")
    if not -1 <= threshold <= 1:
        raise ConfigError(f"--threshold {threshold:g}: a cosine is between -1 and 1")
    from pipelines.library.duplicates import find_duplicates
    from pipelines.library.search import Library
    from pipelines.library.search_page import duplicates_page, search_page
    from pipelines.storage.folder import parent_and_name

    library = Library(embeddings, by)
    if duplicates:
        found = find_duplicates(library, threshold=threshold)
        page = duplicates_page(library, found, threshold) if html else ""
        if json_:
            _print_json({"groups": found.groups, "pairs": list(map(asdict, found.pairs))})
        else:
            _print_duplicates(found)
    else:
        answers = library.search(query or [], k=k, path=path, split=split, elsewhere=elsewhere)
        page = search_page(library, answers) if html else ""
        if json_:
            _print_json(list(map(asdict, answers)))
        else:
            for answer in answers:
                _print_answer(answer, library.embeddings.is_table)
    if html:
        folder, name = parent_and_name(html)
        folder.write_text(name, page)
        if not json_:
            console.print(f"page        {html}", highlight=False, soft_wrap=True)


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2))


def _print_answer(answer: Any, is_table: bool) -> None:
    times = [] if is_table else ["from", "to"]
    what = "entry" if is_table else "video"
    table = Table("", "cosine", *times, "split", what, title=str(answer.query))
    folder = _common_folder([hit.path for hit in answer.hits])
    for number, hit in enumerate(answer.hits, start=1):
        seconds = (f"{at:.2f} s" for at in (hit.start_seconds, hit.end_seconds) if not is_table)
        table.add_row(
            str(number),
            f"{hit.cosine:.3f}",
            *seconds,
            hit.split or MISSING,
            hit.path[len(folder) :],
        )
    console.print(table)
    if folder:
        files = "files" if is_table else "videos"
        console.print(f"{files} in   {folder}", markup=False, highlight=False, soft_wrap=True)


def _common_folder(paths: list[str]) -> str:
    """The folder that all are in, with its last slash."""
    folders = zip(*(path.split("/")[:-1] for path in paths), strict=False)
    same = takewhile(lambda names: len(set(names)) == 1, folders)
    return "/".join([*(names[0] for names in same), ""])


def _print_duplicates(found: Any) -> None:
    for number, group in enumerate(found.groups, start=1):
        console.print(f"group {number}", highlight=False)
        for path in group:
            console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)
    folder = _common_folder([path for pair in found.pairs for path in (pair.path, pair.other)])
    table = Table("", "clips", "share", "later by", "cosine", "video", "other video")
    for pair in found.pairs:
        table.add_row(
            "copy" if pair.is_copy else "moments",
            str(pair.num_clips),
            f"{pair.share:.0%}",
            f"{pair.offset_seconds:+.2f} s",
            f"{pair.cosine:.3f}",
            f"{pair.path[len(folder) :]}@{pair.start_seconds:.2f}",
            f"{pair.other[len(folder) :]}@{pair.other_start_seconds:.2f}",
        )
    if found.pairs:
        console.print(table)
        console.print(f"videos in   {folder}", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print("no two videos have clips that match")
