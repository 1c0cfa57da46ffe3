"""A moment of a video, as people write it: `video.mp4@12.5`."""

import math
from dataclasses import dataclass

from pipelines.config.run import ConfigError


class MomentError(ConfigError):
    """A moment that is written wrongly or that the video does not have."""


@dataclass(frozen=True)
class Moment:
    """A place in a video, or a file as a whole.

    Attributes:
        path: of the file: a path or a URI, as it was given.
        seconds: from the beginning of the video; None: its middle, or an image.
    """

    path: str
    seconds: float | None = None

    def __str__(self) -> str:
        return self.path if self.seconds is None else f"{self.path}@{self.seconds:.10g}"

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """Split `PATH@SECONDS` at its last `@`, so that the path may contain others.

        Seconds are a number, or hours, minutes and seconds such as 1:02:03.5.

        Raises:
            MomentError: where there is no path, or no time that a video could have.
        """
        path, separator, when = text.rpartition("@")
        if not separator or not path:
            raise MomentError(f"{text}: write a moment as VIDEO@SECONDS, such as video.mp4@12.5")
        try:
            return cls(path, _seconds(when))
        except ValueError:
            raise MomentError(
                f"{text}: {when!r} is no time; write seconds or minutes:seconds behind the last @, "
                "such as video.mp4@12.5 or video.mp4@1:12.5"
            ) from None


def _seconds(text: str) -> float:
    """Seconds of `12.5`, `1:12.5` or `1:02:03`; ValueError for anything else."""
    parts = [float(part) for part in text.split(":")]
    if len(parts) > 3 or not all(math.isfinite(part) and part >= 0 for part in parts):
        raise ValueError(text)
    if any(part >= 60 for part in parts[1:]) or any(part % 1 for part in parts[:-1]):
        raise ValueError(text)
    return sum(part * 60.0**place for place, part in enumerate(reversed(parts)))
