"""`adassl export` and `adassl probe`."""

from typing import Annotated, Literal

import typer

from pipelines.cli.options import console

Run = Annotated[
    str, typer.Argument(help="A run's folder, such as runs/first or s3://bucket/runs/first.")
]
Checkpoint = Annotated[
    Literal["best", "newest"], typer.Option(help="best (train.best_metric), or newest.")
]


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
