"""`adassl experiment`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markdown import Markdown

from pipelines.cli.options import console

Name = Literal[
    "numerical",
    "moving-digits",
    "stability",
    "reuse",
    "real-video",
    "criteria",
    "chains",
    "several-digits",
    "images",
    "text",
    "sound",
]
Quick = Annotated[bool, typer.Option(help="A small version in minutes: shows that it works.")]


def experiment(
    name: Annotated[Name, typer.Argument(help="Which one.")],
    quick: Quick = False,
    videos: Annotated[
        Path | None,
        typer.Option(help="A folder of labelled videos (docs/data.md), for reuse.", exists=True),
    ] = None,
    robot: Annotated[
        Path | None,
        typer.Option(
            help="A folder of videos with values of each frame, for real-video and criteria.",
            exists=True,
        ),
    ] = None,
    signs: Annotated[
        Path | None,
        typer.Option(help="A folder of videos with classes, for real-video.", exists=True),
    ] = None,
    solids: Annotated[
        Path | None,
        typer.Option(
            help="Scenes in the layout of 3DIdent, for images; unset: rendered.", exists=True
        ),
    ] = None,
    turntable: Annotated[
        Path | None,
        typer.Option(
            help="Turned objects, for images: COIL's folder, or a table with object and angle.",
            exists=True,
        ),
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="A folder of captions, for text.", exists=True)
    ] = None,
    sts: Annotated[
        Path | None, typer.Option(help="A folder of the STS benchmark, for text.", exists=True)
    ] = None,
    sick: Annotated[
        Path | None, typer.Option(help="A folder of SICK, for text.", exists=True)
    ] = None,
    digits: Annotated[
        Path | None, typer.Option(help="A folder of spoken digits, for sound.", exists=True)
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds of every arm; unset: the experiment's own.", min=1)
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(help="Only the arms whose names match, such as 'complex.*'; may be repeated."),
    ] = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option(help="Trials at once; unset: one a core, or as many as fit.", min=1),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of all experiments.")] = Path("experiments"),
    docs: Annotated[
        Path | None, typer.Option(help="A folder to write the page and its pictures to as well.")
    ] = None,
) -> None:
    """Reproduce an experiment: every arm with its seeds, then tables, figures and verdicts.

    Trials run side by side on what there is, each a run in MLflow below that of the experiment.
    The same command goes on where it stopped, and once all are finished writes the page anew.
    """
    from pipelines.experiments import catalogue
    from pipelines.experiments.job import run_experiment
    from pipelines.storage.folder import Folder

    folders = {
        **{"videos": videos, "robot": robot, "signs": signs, "solids": solids},
        **{"turntable": turntable, "captions": captions, "sts": sts, "sick": sick},
        "digits": digits,
    }
    chosen = catalogue.load(name, quick=quick, **folders)
    if arms:
        chosen = chosen.only(arms)
    if seeds is not None:
        chosen = chosen.with_seeds(seeds)
    result = run_experiment(
        chosen,
        Folder(out).child(f"{name}-quick" if quick else name),
        command=f"adassl experiment {name}"
        + (" --quick" if quick else "")
        + "".join(f" --{option} FOLDER" for option, folder in folders.items() if folder)
        + (f" --seeds {seeds}" if seeds else "")
        + "".join(f" --arms '{pattern}'" for pattern in arms or ()),
        at_once=max_concurrent,
        docs=docs,
    )
    verdicts = result.page.read_text().partition("## Verdicts")[2].partition("###")[0]
    console.print(Markdown(verdicts))
    for trial in result.failed:
        console.print(f"failed      {trial.name}: {trial.reason}", markup=False, highlight=False)
    console.print(f"page        {result.page}", highlight=False, soft_wrap=True)
    console.print(f"compare     {result.ui_command}", highlight=False, soft_wrap=True)
