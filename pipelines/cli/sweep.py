"""`adassl sweep` and `adassl sweep-report`."""

from typing import Annotated, Any, Literal

import typer

from pipelines.cli.options import Out, Set, VideosRoot, console, resolve

# What a command needs is imported in it, so that --help answers at once.


def sweep(
    space: Annotated[
        str, typer.Option(help="A module of tune_spaces: adassl_v, adassl_s, baselines, digits, …")
    ],
    name: Annotated[str, typer.Option(help="The sweep's name; the same name goes on.")] = "sweep",
    num_trials: Annotated[
        int | None, typer.Option(help="Settings × seeds; 16 unless --search grid.", min=1)
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of each setting.", min=1)] = 2,
    search: Annotated[
        Literal["tpe", "random", "grid"], typer.Option(help="How settings are chosen.")
    ] = "tpe",
    scheduler: Annotated[
        Literal["asha", "none"], typer.Option(help="asha ends the trials that fall behind.")
    ] = "asha",
    max_concurrent: Annotated[
        int | None, typer.Option(help="Most trials at once; unset: as many as fit.", min=1)
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Judge by another metric than the space's.")
    ] = None,
    mode: Annotated[
        Literal["max", "min"] | None, typer.Option(help="Which way that metric is better.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Another recipe than the one that the space varies.")
    ] = None,
    index: Annotated[str | None, typer.Option(help="Short for --set data.index=…")] = None,
    videos_root: VideosRoot = None,
    workers: Annotated[
        int | None, typer.Option(help="Short for --set cluster.num_workers=…, of each trial", min=1)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Short for --set train.steps=…", min=1)] = None,
    set_: Set = None,
    out: Out = "runs",
) -> None:
    """Search a space over many trainings, each with several seeds, beside the method without r.

    As many trials run at once as the cluster holds. The same command goes on where it stopped:
    finished trials are kept, interrupted ones go on from their checkpoints. Each trial is a run in
    MLflow under that of the sweep. At the end: leaderboard, maps and a page, as by `sweep-report`.
    """
    from pipelines.sweep.settings import load_space

    varied = load_space(space, recipe=recipe, metric=metric, mode=mode)
    config = resolve(
        varied.recipe,
        set_,
        varied.settings,
        index=index,
        videos_root=videos_root,
        workers=workers,
        steps=steps,
    )
    from pipelines.storage.folder import Folder  # heavy: a wrong setting is refused before it
    from pipelines.sweep.job import SweepOptions
    from pipelines.sweep.job import sweep as run_sweep

    options = SweepOptions(
        space_name=space,
        num_trials=num_trials,
        num_seeds=seeds,
        search=search,
        scheduler=scheduler,
        max_concurrent=max_concurrent,
    )
    result = run_sweep(config, varied, options, Folder(out).child(name))
    _print_report(result.report, result.folder)
    for trial in result.failed:
        console.print(f"failed      {trial.name}: {trial.reason}", markup=False, highlight=False)
    console.print(f"compare     {result.ui_command}", highlight=False, soft_wrap=True)
    if not result.has_finished_trials:
        raise typer.Exit(1)


def sweep_report(
    sweep: Annotated[str, typer.Argument(help="A sweep's folder, such as runs/sweep.")],
    metric: Annotated[
        str | None, typer.Option(help="Rank by another metric of the trials.")
    ] = None,
) -> None:
    """Leaderboard, sensitivity map, importance and a page of a sweep, from its trials so far."""
    from pipelines.storage.folder import Folder
    from pipelines.sweep.job import write_sweep_report

    folder = Folder(sweep)
    _print_report(write_sweep_report(folder, metric), folder)


def _print_report(report: Any, folder: Any) -> None:
    console.print(report.leaderboard_text, markup=False, highlight=False, soft_wrap=True)
    for sentence in report.sentences:
        console.print(sentence, markup=False, highlight=False)
    console.print(f"page        {folder.child('report')}/report.html", highlight=False)
