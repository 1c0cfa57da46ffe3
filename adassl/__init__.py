"""AdaSSL: self-supervised learning from pairs whose target the context does not determine.

The method as a library that needs torch and jaxtyping alone: objectives, latents, editors, `Method`
around any encoder, schedules, diagnostics. No files, no environment, no Ray, no tracking.

    from adassl import InfoNCE, MLPEditor, Method, VariationalLatent, Views

Paper: "Self-Supervised Learning from Structural Invariance", arXiv 2602.02381.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adassl.api import *  # noqa: F403
    from adassl.api import __all__ as __all__


def __getattr__(name: str) -> Any:
    """Import the library at the first name that is asked for.

    `adassl.config` is read by commands that never train, for which importing torch would be most of
    their time.
    """
    from adassl import api

    if name == "__all__" or name in api.__all__:
        return getattr(api, name)
    raise AttributeError(f"module 'adassl' has no attribute {name!r}")


def __dir__() -> list[str]:
    from adassl import api

    return sorted([*globals(), *api.__all__])
