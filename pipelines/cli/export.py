"""`adassl export` and `adassl probe`."""

from typing import Annotated, Literal

import typer

from pipelines.cli.options import VideosRoot, console

Run = Annotated[
    str, typer.Argument(help="A run's folder, such as runs/first or s3://bucket/runs/first.")
]
Checkpoint = Annotated[
    Literal["best", "newest"], typer.Option(help="best (train.best_metric), or newest.")
]

_SHOWN = 10


def export(
    run: Run,
    out: Annotated[str, typer.Option(help="Folder to write: a path or a URI.")],
    form: Annotated[
        Literal["safetensors", "onnx", "torch-export"],
        typer.Option("--format", help="onnx and torch-export: also a graph, for any batch."),
    ] = "safetensors",
    checkpoint: Checkpoint = "best",
    license_text: Annotated[
        str | None, typer.Option("--license", help="Of the weights, for the model card.")
    ] = None,
    register: Annotated[
        str | None,
        typer.Option(help="Also a version of this name in MLflow's model registry."),
    ] = None,
) -> None:
    """Write a run's encoder as a folder that `adassl.load` reads with torch alone.

    Weights (safetensors), architecture, preprocessing and a model card. The same command with
    another --format adds it. A registered version gets the alias champion if it is better than the
    one that has it, by train.best_metric.
    """
    from pipelines.library.export import TOLERANCE
    from pipelines.library.export import export as write
    from pipelines.storage.folder import Folder
    from pipelines.storage.runs import RunFolder

    done = write(
        RunFolder(run),
        Folder(out),
        form=form,
        checkpoint=checkpoint,
        license_text=license_text,
        register=register,
    )
    source = done.encoder.source
    value = "not known" if source.best_value is None else f"{source.best_value:.4g}"
    lines = [
        f"encoder     {source.run}, its {source.checkpoint} checkpoint: step {source.step}",
        f"judged by   {source.best_metric}: {value}",
    ]
    if done.difference is not None:
        lines.append(
            f"graph       equal to torch within {done.difference:.1e} of the largest value "
            f"(at most {TOLERANCE:g})"
        )
    if done.was_there:
        lines.append("            the same weights were there already")
    if done.registered is not None:
        new = done.registered
        there = ", which was there already" if new.was_there else ""
        lines.append(f"registered  models:/{new.name}/{new.version}{there}")
        lines.append(f"champion    {'yes' if new.is_champion else 'no'}: {new.why}")
    lines.append(f"written     {done.folder}: {', '.join(done.files)}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def probe(
    run: Annotated[str, typer.Argument(help="A run's folder, or one that adassl export wrote.")],
    labels: Annotated[
        str,
        typer.Argument(
            help="A CSV table: path, label, and seconds where a label is of a moment; or the "
            "folder of a probe that was fitted before."
        ),
    ],
    kind: Annotated[
        Literal["linear", "attentive"],
        typer.Option(help="linear: on h; attentive: a query over the backbone's tokens."),
    ] = "linear",
    checkpoint: Checkpoint = "best",
    apply: Annotated[
        str | None, typer.Option(help="Index of a library to label by the probe.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="With --apply: the table to write, .parquet or .csv.")
    ] = None,
    stride: Annotated[
        float, typer.Option(help="With --apply: seconds between the starts of two clips.")
    ] = 1.0,
    videos_root: VideosRoot = None,
) -> None:
    """Fit a probe from a handful of labelled moments or videos, and say how good it is.

    Words are classes, numbers are values. The score is by cross-validation: every row is answered
    by a probe that did not see its video. The probe is kept beside the encoder; --apply labels a
    library by it.
    """
    from pipelines.library.probe import run_probe

    done = run_probe(
        run,
        labels,
        kind=kind,
        checkpoint=checkpoint,
        apply=apply,
        out=out,
        stride_seconds=stride,
        videos_root=videos_root,
    )
    lines = [f"skipped     {reason}" for reason in done.skipped[:_SHOWN]]
    if len(done.skipped) > _SHOWN:
        lines.append(f"            and {len(done.skipped) - _SHOWN} more rows")
    if done.judgement is not None:
        judged = done.judgement
        name = "accuracy" if judged.kind == "class" else "R²"
        lines.append(
            f"{name:<11} {judged.score:.3f}, 95 % {judged.low:.3f} to {judged.high:.3f} "
            f"({judged.interval})"
        )
        lines.append(
            f"judged on   {judged.num_rows} rows of {judged.num_videos} videos, {judged.folds} "
            "folds, each video in one"
        )
        if judged.kind == "class":
            lines.append(f"chance      {judged.chance:.3f}: the most frequent class")
        for row in done.classes.itertuples():
            lines.append(
                f"  {row[1]:<20} {row.rows} rows of {row.videos} videos, recall {row.recall:.2f}"
            )
    lines.append(f"probe       {done.folder}")
    if done.labelled is not None:
        new = done.labelled
        skipped = list(new.skipped.items())
        lines += [f"skipped     {path}: {reason}" for path, reason in skipped[:_SHOWN]]
        if skipped:
            lines.append(f"            {len(skipped)} videos in all, of which some was not read")
        lines += [f"  {name:<20} {count} clips" for name, count in new.counts.items()]
        lines.append(f"labelled    {new.num_clips} clips in {new.seconds:.0f} s: {new.where}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
