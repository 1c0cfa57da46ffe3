"""`adassl data`: make, index and prepare videos; make images; make tables of pairs."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import console
from pipelines.cli.pairs import pairs

data_app = typer.Typer(no_args_is_help=True, help="Make, index or prepare videos, or pairs.")
data_app.command("pairs")(pairs)


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
    digits: Annotated[
        int, typer.Option(help="Digits in a scene at once, each from a corner.", min=1, max=3)
    ] = 1,
    canvas: Annotated[int, typer.Option(help="Side in pixels.", min=16)] = 64,
    fps: Annotated[int, typer.Option(help="Frames per second of the files.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="The same seed makes the same videos.", min=0)] = 0,
) -> None:
    """Write stochastic moving digits as mp4 files, with their true factors beside them.

    A handwritten digit moves over the canvas; before the fourth frame the velocity along one axis
    changes at random (arXiv 2602.02381). Train and test split by the identity of the glyph. With
    `--digits 2` or `3` several move at once and change independently of each other.
    """
    from pipelines.sources.moving_digits import write_moving_digits

    summary = write_moving_digits(
        out,
        num_videos=num_videos,
        setting=setting,
        num_frames=num_frames,
        scenes=scenes,
        digits=digits,
        canvas=canvas,
        fps=fps,
        seed=seed,
        console=console,
    )
    console.print(f"{summary.num_videos} videos in {out}, factors in {out / 'factors.parquet'}")


@data_app.command("solids")
def solids(
    out: Annotated[Path, typer.Argument(help="Folder for the images and their latents.")],
    num_images: Annotated[
        int, typer.Option(help="Images of both splits; a tenth is for tests.", min=20)
    ] = 10_000,
    image_size: Annotated[int, typer.Option(help="Side in pixels.", min=16)] = 64,
    seed: Annotated[int, typer.Option(help="The same seed makes the same images.", min=0)] = 0,
) -> None:
    """Render one solid under a spotlight, as in 3DIdent: ten latents of place, turn and colour.

    The same command again goes on where a killed one stopped. Then:

        adassl data pairs 3dident OUT
    """
    from pipelines.sources.solids import draw_sweep, write_solids

    summary = write_solids(
        out, num_images=num_images, image_size=image_size, seed=seed, console=console
    )
    kept = f", {summary.num_kept} of them before" if summary.num_kept else ""
    console.print(f"{summary.num_images} images in {out}{kept}", highlight=False, soft_wrap=True)
    preview = draw_sweep(image_size, out / "preview.png")
    console.print(f"preview  {preview}", highlight=False, soft_wrap=True)


@data_app.command("index")
def index(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Folders and files, or URIs: s3://, gs://, http(s)://, hf://, file://."
        ),
    ],
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
        list[str] | None,
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
            tables=tuple(labels or ()),
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


@data_app.command("prepare")
def prepare(
    index: Annotated[str, typer.Argument(help="The index of the videos: a path or a URI.")],
    out: Annotated[
        str,
        typer.Argument(help="Folder of the copies: a path or a URI that every node can write."),
    ],
    short_side: Annotated[
        int,
        typer.Option(
            help="Of the copies, in pixels, rounded to even; none is made larger.", min=16
        ),
    ] = 128,
    key_frame_every: Annotated[
        int, typer.Option(help="Frames in a group of pictures.", min=1)
    ] = 16,
    crf: Annotated[
        int, typer.Option(help="Quality of x264: lower is better and larger.", min=1, max=40)
    ] = 20,
    timeout_seconds: Annotated[
        float, typer.Option(help="A video that gives no new frame for longer is skipped.", min=1)
    ] = 60.0,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster; unset: RAY_ADDRESS, else this machine.")
    ] = None,
) -> None:
    """Re-encode the videos of an index once, small and with short groups of pictures.

    Frame n of a copy is frame n of its original, which is checked. OUT/videos.parquet is an index
    like any other, with the splits and labels of the originals:

        adassl train --index OUT/videos.parquet

    The same command again goes on where it stopped, and copies what is new or changed.
    """
    from pipelines.video.prepare import prepare as prepare_copies
    from pipelines.video.transcode import CopySettings

    settings = CopySettings(short_side=short_side, key_frame_every=key_frame_every, crf=crf)
    summary = prepare_copies(
        index, out, settings, timeout_seconds=timeout_seconds, address=address, console=console
    )
    for line in summary.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"index  {out}/videos.parquet", highlight=False, soft_wrap=True)
