"""`adassl export`: the encoder of a run as a folder that needs none of this project but `adassl`.

FOLDER/model.safetensors   the weights of backbone and projector
FOLDER/config.json         their architecture, the preprocessing, which training; written last
FOLDER/README.md           the model card
FOLDER/model.onnx          by --format onnx: uint8 frames to h and z
FOLDER/model.pt2           by --format torch-export: the same as a `torch.export` graph
"""

import importlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from safetensors.torch import save_file
from torch import Tensor, nn

from adassl.loaded import (
    CARD_FILE,
    CONFIG_FILE,
    FORMAT,
    WEIGHTS_FILE,
    LoadedEncoder,
    digest_of,
    normalised,
)
from pipelines import tracking
from pipelines.config.run import ConfigError
from pipelines.library.card import model_card
from pipelines.library.encoders import TrainedEncoder, trained_encoder
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.tracking import Registered, TrackingError

Format = Literal["safetensors", "onnx", "torch-export"]
GRAPHS: dict[Format, str] = {"onnx": "model.onnx", "torch-export": "model.pt2"}
"""The files of the graphs."""
TOLERANCE = 1e-4
"""Greatest difference of h and z between torch and a graph, as a share of their largest value."""
LOADER = "pipelines.library.served"
"""The module by which MLflow loads a registered encoder."""
_BATCHES = (1, 5)
"""Sizes on which a graph is compared with torch; neither is that of the example it is traced by."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote and found.

    Attributes:
        folder: where.
        files: their names.
        was_there: whether the same weights had been exported here before.
        difference: greatest of the graph from torch, as a share of the largest value; None without.
        encoder: what was exported.
        registered: in MLflow's registry; None where that was not asked for.
    """

    folder: Folder
    files: tuple[str, ...]
    was_there: bool
    difference: float | None
    encoder: TrainedEncoder
    registered: Registered | None


class FromPixels(nn.Module):
    """Frames at the size of the encoder to h and z: what the graphs hold."""

    def __init__(self, encoder: LoadedEncoder) -> None:
        super().__init__()
        self.backbone, self.projector = encoder.encoder.backbone, encoder.encoder.projector

    def forward(
        self, frames: UInt8[Tensor, "batch frames height width channels"]
    ) -> tuple[Float[Tensor, "batch representation"], Float[Tensor, "batch dim"]]:
        """Representation and embedding."""
        representation = self.backbone(normalised(frames))
        return representation, self.projector(representation)


def export(
    run: RunFolder,
    out: Folder,
    *,
    form: Format = "safetensors",
    checkpoint: str = "best",
    license_text: str | None = None,
    register: str | None = None,
) -> Exported:
    """Write the folder, and register it with MLflow where a name is given.

    The same again adds what is missing, such as another format.

    Args:
        run: whose encoder.
        out: the folder.
        form: a graph to write beside the weights.
        checkpoint: "best" or "newest".
        license_text: for the model card.
        register: the name in the model registry of the run's tracking server.

    Raises:
        ConfigError: if there is no such checkpoint, the folder holds something else, or a graph
            cannot be made or does not give what torch gives.
        StorageError: if a place cannot be reached.
        TrackingError: if MLflow cannot register it.
    """
    _check_installed(form)
    if register is not None:
        record = run.record()
        if record is None or not record.mlflow_run_id or not record.tracking_uri:
            raise TrackingError(
                f"--register {register}: {run} has no run in MLflow, which keeps the registry; "
                "train where MLflow answers (tracking.uri), or leave --register out"
            )
    found = trained_encoder(run, checkpoint)
    with TemporaryDirectory(prefix="adassl-export-") as temporary:
        staging = Path(temporary) / "encoder"
        staging.mkdir()
        weights = {k: v.contiguous() for k, v in found.encoder.encoder.state_dict().items()}
        save_file(weights, staging / WEIGHTS_FILE)
        content = config_of(found, digest_of(staging / WEIGHTS_FILE))
        before = _before(out, content)
        difference = None
        if form != "safetensors":
            difference = _write_graph(found.encoder, form, staging / GRAPHS[form])
        graphs = _graphs(out, form, known=before)
        card = model_card(
            found,
            summary=run.summary(),
            formats=[_about(name, found) for name in graphs],
            license_text=license_text or _license(out if before else None),
        )
        (staging / CARD_FILE).write_text(card, encoding="utf-8")
        (staging / CONFIG_FILE).write_text(json.dumps(content, indent=2))
        names = [n for n in (WEIGHTS_FILE, *graphs, CARD_FILE) if (staging / n).exists()]
        for name in (*names, CONFIG_FILE):  # the last makes it an export
            out.put(staging / name, name)
        registered = None
        if register is not None:
            for name in graphs:
                if name not in names:
                    (staging / name).write_bytes(out.read_bytes(name) or b"")
            registered = _register(run, found, staging, register)
    return Exported(
        folder=out,
        files=(WEIGHTS_FILE, *graphs, CARD_FILE, CONFIG_FILE),
        was_there=before,
        difference=difference,
        encoder=found,
        registered=registered,
    )


def config_of(found: TrainedEncoder, weights_sha256: str) -> dict[str, Any]:
    """What config.json holds."""
    content = {
        "format": FORMAT,
        "architecture": asdict(found.architecture),
        "preprocessing": asdict(found.encoder.preprocessing),
        "weights_sha256": weights_sha256,
        "source": asdict(found.source),
    }
    return dict(json.loads(json.dumps(content)))


def _before(out: Folder, content: dict[str, Any]) -> bool:
    """Whether the same encoder was exported to the folder before.

    Raises:
        ConfigError: if something else is in it.
    """
    ours = {CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, *GRAPHS.values()}
    names = set(out.files()) | set(out.folders())
    if CONFIG_FILE not in names:
        others = sorted(name for name in names - ours if not name.startswith("."))
        if others:
            raise ConfigError(
                f"{out} holds other files, such as {others[0]}: give --out a folder of its own"
            )
        for name in sorted(names & ours):  # of an export that was cut off
            out.remove(name)
        return False
    known = out.read_json(CONFIG_FILE)
    if not isinstance(known, dict) or known.get("format") != FORMAT:
        raise ConfigError(f"{out} holds something else, such as a run: give --out another folder")
    if known.get("weights_sha256") != content["weights_sha256"]:
        source = known.get("source", {})
        raise ConfigError(
            f"{out} holds another encoder (run {source.get('run')}, step {source.get('step')}): "
            f"give --out another folder, or delete {out}"
        )
    return True


def _graphs(out: Folder, form: Format, *, known: bool) -> list[str]:
    """The graphs that the folder will hold."""
    own = GRAPHS.get(form)
    return [name for name in GRAPHS.values() if name == own or (known and out.exists(name))]


def _license(out: Folder | None) -> str | None:
    """The licence that the card of an earlier export states."""
    card = (out.read_text(CARD_FILE) if out else None) or ""
    start = "- licence of these weights: "
    said = next((line for line in card.splitlines() if line.startswith(start)), start)
    return said.removeprefix(start) or None


def _about(name: str, found: TrainedEncoder) -> str:
    """How a graph is used."""
    channels, frames, side, _ = found.encoder.preprocessing.input_shape
    takes = f"uint8 `frames` [batch, {frames}, {side}, {side}, {channels}]"
    gives = "`representation` and `embedding`, for any batch"
    how = {
        "model.onnx": "by onnxruntime",
        "model.pt2": "`torch.export.load(…).module()`, which needs nothing of `adassl`",
    }[name]
    return (
        f"`{name}` ({how}) takes {takes}, resized and cut already, and gives {gives}; within "
        f"{TOLERANCE:g} of the largest value of what torch gives."
    )


def _check_installed(form: Format) -> None:
    if form != "onnx":
        return
    for package in ("onnx", "onnxruntime", "onnxscript"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ConfigError(
                f"--format onnx: {package} is not installed; pip install 'adassl[onnx]'"
            ) from error


def _write_graph(encoder: LoadedEncoder, form: Format, file: Path) -> float:
    """Trace the encoder for any batch, write the graph, and compare it with torch.

    Returns:
        Greatest difference of h and z, as a share of their largest value.

    Raises:
        ConfigError: if it cannot be traced, or differs by more than `TOLERANCE`.
    """
    module = FromPixels(encoder).eval()
    channels, frames, side, _ = encoder.preprocessing.input_shape
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(
        0,
        256,
        (sum(_BATCHES), frames, side, side, channels),
        dtype=torch.uint8,
        generator=generator,
    )
    dynamic = {"frames": {0: torch.export.Dim("batch")}}
    try:
        with _quiet(), torch.no_grad():
            if form == "onnx":
                torch.onnx.export(
                    module,
                    (pixels[:2],),
                    file,
                    dynamo=True,
                    verbose=False,
                    external_data=False,
                    input_names=["frames"],
                    output_names=["representation", "embedding"],
                    dynamic_shapes=dynamic,
                )
            else:
                traced = torch.export.export(module, (pixels[:2],), dynamic_shapes=dynamic)
                torch.export.save(traced, file)
            answers = _answers(form, file)
            worst = 0.0
            for some in pixels.split(_BATCHES):
                for ours, graphs in zip(module(some), answers(some), strict=True):
                    scale = max(float(ours.abs().max()), 1e-12)
                    worst = max(worst, float((ours - graphs).abs().max()) / scale)
    except Exception as error:  # many kinds, from the tracer to the runtime
        first = (str(error).splitlines() or [repr(error)])[0]
        raise ConfigError(
            f"--format {form}: this backbone cannot be made a graph for any batch ({first}); use "
            "--format safetensors"
        ) from error
    if not worst <= TOLERANCE:
        raise ConfigError(
            f"--format {form}: the graph differs from torch by {worst:.2g} of the largest value, "
            f"more than {TOLERANCE:g}; use --format safetensors"
        )
    return worst


def _answers(form: Format, file: Path) -> Any:
    """The graph as it is read back from its file."""
    if form == "torch-export":
        return torch.export.load(file).module()
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda some: map(torch.from_numpy, session.run(None, {"frames": some.numpy()}))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of its own parts and of operators that are not used here."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _register(run: RunFolder, found: TrainedEncoder, folder: Path, name: str) -> Registered:
    record, source = run.record(), found.source
    assert record is not None
    assert record.tracking_uri is not None
    assert record.mlflow_run_id is not None
    mode, _, metric = source.best_metric.partition(":")
    return tracking.register_encoder(
        record.tracking_uri,
        record.mlflow_run_id,
        name,
        folder,
        loader=LOADER,
        output_dim=found.encoder.encoder.output_dim,
        judged=tracking.Judged(metric=metric, mode=mode, value=source.best_value),
        tags={
            "adassl.run": source.run,
            "adassl.step": str(source.step),
            "adassl.data_digest": source.data_digest,
        },
    )
