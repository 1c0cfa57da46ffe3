"""The settings of the data: which pairs are cut from which videos, or read from which table."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.config.fields import Amount, NonNegative, Positive, PositiveAmount, Record, Share

PositiveShare = Annotated[float, Field(gt=0, le=1)]
HalfShare = Annotated[float, Field(ge=0, le=0.5)]


class AugmentConfig(Record):
    """How far augmented views are changed; see `adassl.Augmentation`. Drawn for each clip anew."""

    area: tuple[PositiveShare, PositiveShare] = (0.5, 1.0)
    """Least and greatest share of the frame that a view keeps, scaled to the whole."""
    brightness: Share = 0.4
    """Greatest change, up and down; so for contrast and saturation."""
    flip: Share = 0.0
    """Probability of swapping left and right; only where both mean the same."""
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: HalfShare = 0.0
    """Greatest turn, as a share of the circle."""
    greyscale: Share = 0.0
    """Probability of losing all colour."""
    blur: Share = 0.0
    """Probability of a Gaussian blur."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.area[0] > self.area[1]:
            raise ValueError(f"area={self.area}: the first must not exceed the second")
        return self


class DataConfig(Record):
    """Which pairs are cut from which videos."""

    index: str = "videos.parquet"
    """The index that `adassl data index` wrote, or the table of `adassl data pairs`, for which what
    is said below of gaps, starts, windows and moments does not count."""
    videos_root: str | None = None
    """The folder that holds the videos of the index now, if they were moved since it was made; of a
    table, the folder that its relative paths are in."""
    frames_per_clip: Positive = 3
    """Consecutive frames in each view; 1 makes pairs of single frames."""
    gap: tuple[Amount, Amount] = (3, 3)
    """Least and greatest distance from the first frame of x to the first frame of x+."""
    gap_unit: Literal["frames", "seconds"] = "frames"
    """Unit of `gap`; seconds are turned into frames by each video's own rate."""
    views: Literal["time", "augmentation", "both"] = "time"
    """What a pair is while it trains: x and the x+ that came; two augmentations of x, which then
    alone is decoded, but for evaluation; or both, x and x+ each augmented."""
    augment: AugmentConfig = AugmentConfig()
    surrogate: bool = False
    """Also x++, for the posterior to read instead of x+: cut one more gap after x+; where views are
    augmented, x+ (or x) augmented once more, so that r cannot copy its pixels."""
    context_surrogate: bool = False
    """Also an extra view of x, as method.surrogate_form=both needs it: cut one gap before x, or x
    augmented once more."""
    moments_per_chain: Annotated[int, Field(ge=2, le=16)] = 2
    """Moments of a video that a row holds, one gap after another: 2 are a pair, x and x+. With more
    the editor is trained to lead from each on to the next (`adassl.chains`)."""
    negative: bool = False
    """Also x-, of a table's column negative: x+ is told from it, with method.objective=triplet."""
    local_crops: NonNegative = 0
    """Further crops of x, each a small part of it, beside two augmentations: multi-crop, for swav
    and dino. Each costs a step as much as one more view."""
    frame_size: Positive = 64
    """Side in pixels of the square that the encoder sees; the short side is resized to it."""
    grayscale: bool = False
    crop: Literal["center", "random", "none"] = "center"
    """Where along the long side the square is cut, the same place for all views of a pair; none:
    nothing is cut, the whole frame is squeezed into the square."""
    max_tokens: Positive = 64
    """Of a text in a table of pairs; what is longer is cut off."""
    sound_seconds: PositiveAmount = 1.0
    """Of a sound in a table of pairs: what its spectrogram shows. Cut where `crop` says; what is
    shorter is followed by silence."""
    start_multiple: Positive = 1
    """Pairs start at multiples of this frame number."""
    reuse: Positive = 1
    """Pairs that a start frame gives once it is decoded, each with another gap and crop."""
    moments_per_video: Positive = 1
    """Pairs of a global batch that come from one run of frames at a time, hence from one video, so
    that its other moments are among the negatives. The more, the longer the runs of frames that
    the memory holds."""
    shuffle_memory_mib: Positive = 1024
    """Most memory in MiB of the frames that a global batch draws from, over all workers. The more,
    the longer the runs of frames that are read at once, up to a group of pictures."""
    max_pairs_per_video: Positive | None = None
    """Most pairs of one video in a global batch; unset: the fewest that the videos allow."""
    max_failed_share: Share = 0.01
    """Share of windows, or of a table's pairs, that may fail to decode before the run stops."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.gap
        if low > high:
            raise ValueError(
                f"gap=({low:g}, {high:g}): the first must not exceed the second; "
                f"did you mean ({high:g}, {low:g})?"
            )
        if low <= 0:
            raise ValueError(f"gap=({low:g}, {high:g}): a pair needs a gap above 0 {self.gap_unit}")
        if self.gap_unit == "frames" and (low != int(low) or high != int(high)):
            raise ValueError(
                f"gap=({low:g}, {high:g}): frames are whole numbers; "
                "for seconds set data.gap_unit=seconds"
            )
        self._check_chains()
        if self.local_crops and self.views == "time":
            raise ValueError(
                f"local_crops={self.local_crops} with views={self.views!r}: small crops stand "
                "beside augmented views; set data.views=augmentation or both, or data.local_crops=0"
            )
        return self

    def _check_chains(self) -> None:
        chained = f"moments_per_chain={self.moments_per_chain}"
        if self.moments_per_chain > 2:
            if self.views == "augmentation":
                raise ValueError(
                    f"{chained} with views=augmentation, where both views are of x: set "
                    "data.views=time or both, or data.moments_per_chain=2"
                )
            for name in ("surrogate", "context_surrogate", "negative"):
                if getattr(self, name):
                    raise ValueError(
                        f"{chained} with {name}=true: only pairs have further views; set "
                        f"data.{name}=false, or data.moments_per_chain=2"
                    )
        if self.negative and (self.views != "time" or self.context_surrogate):
            raise ValueError(
                f"negative=true with views={self.views}, context_surrogate="
                f"{self.context_surrogate}: triplets are read as they stand in their table; set "
                "data.views=time and data.context_surrogate=false, or data.negative=false"
            )

    @property
    def further(self) -> tuple[str, ...]:
        """Names of the moments of a chain after its target."""
        return tuple(f"moment_{number}" for number in range(3, self.moments_per_chain + 1))

    @property
    def clips(self) -> tuple[str, ...]:
        """The views of a row that are cut from its video, one gap after another, or read."""
        if self.views == "augmentation":
            return ("context",)
        if self.views == "both":
            return ("context", "target", *self.further)
        before = ("context_surrogate",) if self.context_surrogate else ()
        after = [name for name in ("surrogate", "negative") if getattr(self, name)]
        return (*before, "context", "target", *self.further, *after)

    @property
    def gaps_per_pair(self) -> int:
        """Gaps that a pair spans.

        Where x alone is cut as many as by time, so that both train on the same moments.
        """
        gaps = self.moments_per_chain - 1
        return gaps if self.views == "both" else gaps + self.surrogate + self.context_surrogate

    @property
    def channels(self) -> int:
        """Channels of a frame: 1 in greyscale, else 3."""
        return 1 if self.grayscale else 3

    @property
    def view_shape(self) -> tuple[int, int, int, int]:
        """Channels, frames, height and width of one view."""
        return self.channels, self.frames_per_clip, self.frame_size, self.frame_size
