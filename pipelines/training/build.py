"""From a run's config to its method: the one place where settings become encoders."""

from torch import nn

from adassl.backbones import Backbone, build_backbone
from adassl.build import build_method
from adassl.method import Method
from pipelines.config.backbone import BackboneConfig
from pipelines.config.data import DataConfig
from pipelines.config.run import RunConfig


def build(config: RunConfig) -> Method:
    """The method of a config, with fresh weights."""
    backbone = _backbone(config.backbone, config.data)
    second = None
    if config.method.encoders == "separate":
        second = _backbone(config.second_backbone, config.data)
    return build_method(
        backbone,
        output_dim=backbone.output_dim,
        config=config.method,
        second_encoder=second,
        second_output_dim=None if second is None else second.output_dim,
    )


def _backbone(settings: BackboneConfig, data: DataConfig) -> Backbone:
    return build_backbone(
        settings.name,
        input_shape=input_shape(settings, data),
        hidden_dims=settings.hidden_dims,
        tubelet=settings.tubelet,
        token_drop=settings.token_drop,
        model=settings.model,
        pretrained=settings.pretrained,
        vocabulary=settings.vocabulary,
        dropout=settings.dropout,
    )


def input_shape(settings: BackboneConfig, data: DataConfig) -> tuple[int, ...]:
    """Of one sample, as a backbone reads it: of a clip, or the most tokens of a text."""
    return (data.max_tokens,) if settings.reads_text else data.view_shape


def multipliers(config: RunConfig, method: Method) -> list[tuple[nn.Module, float]]:
    """The parts of a method whose learning rate is multiplied."""
    parts = method.parts()
    chosen = {name: factor for name, factor in config.optim.multipliers if factor != 1.0}
    return [(module, factor) for name, factor in chosen.items() for module in parts[name]]
