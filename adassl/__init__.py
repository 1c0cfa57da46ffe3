"""AdaSSL: self-supervised learning from pairs whose target the context does not determine.

The method as a library that needs torch and jaxtyping alone: objectives, latents, editors, `Method`
around any encoder, schedules, diagnostics. No files, no environment, no Ray, no tracking.

    from adassl import InfoNCE, MLPEditor, Method, VariationalLatent, Views

Paper: "Self-Supervised Learning from Structural Invariance", arXiv 2602.02381.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adassl.api import *  # noqa: F403
    from adassl.api import __all__ as __all__
else:

    def __getattr__(name: str) -> Any:
        """Import the library at the first name that is asked for.

        Commands that never train read `adassl.config`; importing torch would be most of their time.
        """
        api = import_module("adassl.api")
        if name == "__all__" or name in api.__all__:
            return getattr(api, name)
        raise AttributeError(f"module 'adassl' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted([*globals(), *import_module("adassl.api").__all__])
