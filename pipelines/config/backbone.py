"""Settings of the backbone."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from adassl.config import BackboneName
from pipelines.config.fields import Positive, Record


class BackboneConfig(Record):
    """The encoder in front of the projector."""

    name: BackboneName = "conv3d"
    hidden_dims: tuple[Positive, ...] | None = None
    """Widths of the hidden layers of mlp and conv3d, and of the blocks of text_transformer, all
    alike; unset: the backbone's own."""
    tubelet: tuple[Positive, Positive] | None = None
    """Frames and pixels of a token of vit_*; unset: 2 frames where they are even, else 1, and 16
    pixels, 8 up to 64."""
    token_drop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the tokens of vit_* that are left out in training."""
    model: str | None = None
    """With name=transformers: a local folder or a name on the hub, of an image or video model."""
    pretrained: bool = True
    """With name=transformers: whether with the model's weights, else random ones."""
    vocabulary: Positive = 8192
    """With name=text_transformer: most token ids; at least those of the table's tokenizer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """With name=text_transformer: share that is left out in training. With data.views=augmentation
    it is what makes the two views of a text differ, as in SimCSE."""
    init_from: str | None = None
    """Weights to start from: a run's folder (its best checkpoint), a checkpoint, or a file or
    folder of weights."""

    @property
    def reads_text(self) -> bool:
        """Whether it reads token ids, and no pixels."""
        return self.name == "text_transformer"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.name == "transformers") != (self.model is not None):
            raise ValueError(
                f"backbone.name={self.name} with backbone.model={self.model}: a model of "
                "transformers needs both; set backbone.name=transformers and backbone.model to a "
                "folder or a name on the hub, such as facebook/dinov2-small"
            )
        if self.dropout and not self.reads_text:
            raise ValueError(
                f"backbone.name={self.name} with backbone.dropout={self.dropout:g}: only "
                "text_transformer has dropout; leave backbone.dropout=0"
            )
        if (self.tubelet or self.token_drop) and not self.name.startswith("vit_"):
            raise ValueError(
                f"backbone.name={self.name} with backbone.tubelet={self.tubelet} and "
                f"backbone.token_drop={self.token_drop:g}: only vit_ti, vit_s and vit_b have tokens"
            )
        return self
