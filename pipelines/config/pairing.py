"""How x+ is drawn for each x where a table lists items, not pairs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.config.fields import PositiveAmount, Record, Share

Name = Annotated[str, Field(min_length=1)]


class PairingRule(Record):
    """What makes two items of a split a natural pair; the pair of a row follows from the seed."""

    kind: Literal["same", "near", "redraw"]
    """same: x+ is any other item with the same value of a column, such as an identity or a class;
    near: the item whose value of a column is nearest to that of x plus a random step; redraw: the
    item nearest to the latents of x, of which each is drawn anew with some probability."""
    columns: tuple[Name, ...]
    """The column of same or near; the latents of redraw."""
    within: Name | None = None
    """near: x+ has the same value of this column, such as the object that is turned."""
    step: tuple[float, float] | None = None
    """near: least and greatest step, in the unit of the column; drawn evenly."""
    period: PositiveAmount | None = None
    """near: after how much the column's values come round again, such as 360 degrees."""
    probability: Share = 0.2
    """redraw: of drawing a latent anew, evenly between its least and greatest value."""
    corrupted: Share = 0.0
    """same: share of the pairs whose x+ has another value of the column, ..."""
    corrupted_within: Name | None = None
    """... but the same of this one, such as the superclass of a species."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.columns or (self.kind != "redraw" and len(self.columns) > 1):
            raise ValueError(f"columns={list(self.columns)}: the rule {self.kind} reads one column")
        if (self.kind == "near") != (self.step is not None):
            raise ValueError(f"step={self.step} with the rule {self.kind}: near needs it, no other")
        if self.step and self.step[0] > self.step[1]:
            raise ValueError(f"step={self.step}: the first must not exceed the second")
        if self.kind != "near" and (self.within or self.period):
            raise ValueError(f"within and period belong to the rule near, not to {self.kind}")
        if bool(self.corrupted) != (self.corrupted_within is not None) or (
            self.corrupted and self.kind != "same"
        ):
            raise ValueError(
                f"corrupted={self.corrupted:g} with corrupted_within={self.corrupted_within}: a "
                "share of the pairs of the rule same needs both"
            )
        return self

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Every column that the rule reads."""
        further = (self.within, self.corrupted_within)
        return (*self.columns, *(name for name in further if name))

    def describe(self) -> str:
        """The rule in words."""
        names = ", ".join(self.columns)
        if self.kind == "redraw":
            return f"each of {names} drawn anew with probability {self.probability:g}, nearest item"
        if self.kind == "near":
            assert self.step is not None
            round_ = f", round after {self.period:g}" if self.period else ""
            within = f", same {self.within}" if self.within else ""
            return f"{names} at a step of {self.step[0]:g} to {self.step[1]:g}{round_}{within}"
        share = f", {self.corrupted:.0%} only {self.corrupted_within}" if self.corrupted else ""
        return f"same {names}{share}"
