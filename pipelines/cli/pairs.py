"""`adassl data pairs`: tables of pairs from data sets in the layouts of their authors."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.options import console

if TYPE_CHECKING:  # what a command needs is imported in it
    from pipelines.config.pairing import PairingRule
    from pipelines.sources.listing import Listing

Source = Literal[
    "table",
    "class-folders",
    "identity-folders",
    "3dident",
    "celeba",
    "inaturalist",
    "captions",
    "sentences",
    "turntable",
    "spoken-digits",
]


def pairs(
    source: Annotated[Source, typer.Argument(help="What the data are; see below.")],
    paths: Annotated[
        list[Path], typer.Argument(help="A folder; of table, captions and sentences files.")
    ],
    out: Annotated[
        str, typer.Option(help="The table to write: a path or a URI.")
    ] = "pairs.parquet",
    val_share: Annotated[float, typer.Option(help="Share of pairs for validation.")] = 0.1,
    test_share: Annotated[float, typer.Option(help="Share of pairs for tests.")] = 0.1,
    same: Annotated[
        str | None, typer.Option(help="table: x⁺ is any other item of the same value: a column.")
    ] = None,
    near: Annotated[
        str | None, typer.Option(help="table: x⁺ is nearest to a step of a column of numbers.")
    ] = None,
    step: Annotated[
        tuple[float, float] | None, typer.Option(help="near: least and greatest step.")
    ] = None,
    period: Annotated[
        float | None, typer.Option(help="near: after how much values come round, such as 360.")
    ] = None,
    redraw: Annotated[
        str | None,
        typer.Option(help="table: x⁺ is nearest to redrawn latents: columns, with commas."),
    ] = None,
    probability: Annotated[
        float, typer.Option(help="3dident, redraw: of drawing a latent anew.")
    ] = 0.2,
    corrupted: Annotated[
        float,
        typer.Option(help="inaturalist, same: share of pairs that are only of one superclass."),
    ] = 0.0,
    within: Annotated[
        str | None,
        typer.Option(help="near: column that x⁺ shares; corrupted: column of the superclass."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="table: a column; one value, one split.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="captions: the pictures, which are then the contexts.")
    ] = None,
    least_score: Annotated[
        float | None, typer.Option(help="sentences: training pairs below are left out.")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="A tokenizer.json for texts; unset: one is trained on the training split."
        ),
    ] = None,
    vocabulary: Annotated[
        int, typer.Option(help="Tokens of the one that is trained, at most.", min=300)
    ] = 8192,
) -> None:
    """Make a table of natural pairs of images or texts, and check every entry of it.

    table: Parquet or csv with context and target, or item and a rule (--same, --near, --redraw).
    class-folders, identity-folders: FOLDER/NAME/*.jpg. 3dident: latents.npy and images. celeba,
    inaturalist: as their authors publish them. captions: Flickr30k or Multi30k. sentences: tsv, csv
    or jsonl with two sentences a line, and a score where there is one. turntable: COIL's folder, or
    a table with object and angle. spoken-digits: the Free Spoken Digit Dataset.

    Entries that cannot be read stand in the table with the reason. Then:

        adassl train --index pairs.parquet
    """
    from pipelines.config.run import ConfigError
    from pipelines.pairs.make import make_table
    from pipelines.pairs.preview import draw_preview

    if source not in ("table", "captions", "sentences") and len(paths) > 1:
        raise ConfigError(f"{source} reads one folder, not {len(paths)}")
    rule = _rule(same, near, step, period, redraw, probability, corrupted, within)
    if rule is not None and source != "table":
        raise ConfigError(f"--same, --near and --redraw are for table; {source} has its own rule")
    listing = _listing(
        source,
        paths,
        rule=rule,
        probability=probability,
        corrupted=corrupted,
        within=within,
        group=group,
        images=images,
        least_score=least_score,
    )
    made = make_table(
        listing,
        out,
        val_share=val_share,
        test_share=test_share,
        tokenizer=None if tokenizer is None else tokenizer.read_text(),
        vocabulary=vocabulary,
        console=console,
    )
    for line in made.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    preview = draw_preview(made.table, out)
    console.print(f"table    {out}", highlight=False, soft_wrap=True)
    if preview:
        console.print(f"preview  {preview}", highlight=False, soft_wrap=True)


def _rule(
    same: str | None,
    near: str | None,
    step: tuple[float, float] | None,
    period: float | None,
    redraw: str | None,
    probability: float,
    corrupted: float,
    within: str | None,
) -> "PairingRule | None":
    from pydantic import ValidationError

    from pipelines.config.pairing import PairingRule
    from pipelines.config.run import ConfigError

    given = [name for name in (same, near, redraw) if name]
    if not given:
        return None
    if len(given) > 1:
        raise ConfigError("--same, --near, --redraw: items are paired by one of them")
    try:
        if same:
            return PairingRule(
                kind="same",
                columns=(same,),
                corrupted=corrupted,
                corrupted_within=within if corrupted else None,
            )
        if near:
            return PairingRule(
                kind="near", columns=(near,), step=step, period=period, within=within
            )
        columns = tuple(str(redraw).split(","))
        return PairingRule(kind="redraw", columns=columns, probability=probability)
    except ValidationError as error:
        words = "; ".join(str(e["msg"]).removeprefix("Value error, ") for e in error.errors())
        raise ConfigError(words) from None


def _listing(
    source: Source,
    paths: list[Path],
    *,
    rule: "PairingRule | None",
    probability: float,
    corrupted: float,
    within: str | None,
    group: str | None,
    images: Path | None,
    least_score: float | None,
) -> "Listing":
    match source:
        case "table":
            from pipelines.sources.own_table import read_own_table

            return read_own_table(paths[0], rule=rule, group=group)
        case "class-folders" | "identity-folders":
            from pipelines.sources.image_folders import read_image_folders

            return read_image_folders(
                paths[0], of="class" if source == "class-folders" else "identity"
            )
        case "3dident":
            from pipelines.sources.three_d_ident import read_3dident

            return read_3dident(paths[0], probability=probability)
        case "celeba":
            from pipelines.sources.celeba import read_celeba

            return read_celeba(paths[0])
        case "inaturalist":
            from pipelines.sources.inaturalist import read_inaturalist

            return read_inaturalist(paths[0], corrupted=corrupted, within=within or "supercategory")
        case "captions":
            from pipelines.sources.captions import read_captions

            return read_captions(paths, images=images)
        case "sentences":
            from pipelines.sources.sentences import read_sentences

            return read_sentences(paths, least_score=least_score)
        case "turntable":
            from pipelines.sources.turntable import read_turntable

            return read_turntable(paths[0])
        case "spoken-digits":
            from pipelines.sources.spoken_digits import read_spoken_digits

            return read_spoken_digits(paths[0])
