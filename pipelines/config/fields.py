"""What every group of settings is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST = 10**9
"""Greatest number of anything that a setting counts or measures: what is meant to be endless is
refused before it overflows somewhere."""
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0, le=MOST)]
NonNegative = Annotated[int, Field(ge=0, le=MOST)]
Amount = Annotated[float, Field(ge=0, le=MOST)]
PositiveAmount = Annotated[float, Field(gt=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""Small enough for the generators of every library, and for seeds that are counted on from it."""


class Record(BaseModel):
    """A frozen group of settings that refuses unknown keys, NaN and infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )
