"""What the commands have in common: options, the terminal, and the config that they resolve."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

console = Console()

Out = Annotated[
    str, typer.Option(help="Folder of all runs: a path, or a URI such as s3://bucket/runs.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting: key=value, such as method.beta=0.1. Repeatable."),
]


VideosRoot = Annotated[
    str | None,
    typer.Option(help="Folder that holds the videos now, if they moved since they were indexed."),
]


def resolve(
    recipe_name: str | None,
    assignments: list[str] | None,
    settings: Mapping[str, Any] | None = None,
    **short: Any,
) -> Any:
    """The config of a recipe with a space's settings, the flags and `--set` applied in turn.

    Without a recipe, the one for what the index holds.
    """
    from pipelines.config.run import with_overrides
    from pipelines.recipes import recipe

    keys = {
        "index": "data.index",
        "videos_root": "data.videos_root",
        "workers": "cluster.num_workers",
        "steps": "train.steps",
    }
    overrides = dict(settings or {})
    overrides |= {keys[name]: value for name, value in short.items() if value is not None}
    overrides |= dict(parse_assignment(text) for text in assignments or [])
    if recipe_name is None:
        from pipelines.pairs.table import default_recipe

        recipe_name = default_recipe(str(overrides.get("data.index", recipe("videos").data.index)))
    return with_overrides(recipe(recipe_name), overrides)


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `key=value`; the value is read as JSON where it is JSON, else as a plain word.

    Raises:
        ConfigError: where there is no `=`.
    """
    from pipelines.config.run import ConfigError

    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set {text}: write it as key=value, such as method.beta=0.1")
    try:
        return key.strip(), json.loads(value)
    except json.JSONDecodeError:
        return key.strip(), value.strip()
