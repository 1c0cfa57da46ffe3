import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from torch import nn

from pipelines.tracking import Tracker, default_uri


def stored(uri: str, tracker: Tracker) -> Run:
    assert tracker.run_id
    return MlflowClient(uri).get_run(tracker.run_id)


class TinyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm3d(4)
        self.head = nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.head(self.norm(self.convolution(x)).mean((2, 3, 4)))
        return features


def test_the_encoder_comes_back_without_pickles_and_for_any_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = default_uri(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    torch.manual_seed(0)
    encoder = TinyEncoder()
    encoder(torch.randn(8, 1, 3, 16, 16) * 3 + 1)  # running statistics of their own
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    example = np.random.default_rng(0).normal(size=(1, 1, 3, 16, 16)).astype(np.float32)
    with Tracker.start(uri, "pairs", "first") as tracker:
        tracker.log_encoder(encoder, example)
    assert encoder.training, "logging changes nothing of the module"
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())

    inputs = np.random.default_rng(1).normal(size=(7, 1, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        expected = encoder.eval()(torch.from_numpy(inputs)).numpy()
    place = f"runs:/{tracker.run_id}/encoder"
    loaded = mlflow.pytorch.load_model(place)
    np.testing.assert_allclose(loaded(torch.from_numpy(inputs)).detach(), expected, atol=1e-6)
    served = mlflow.pyfunc.load_model(place)
    np.testing.assert_allclose(served.predict(inputs), expected, atol=1e-6)
    signature = served.metadata.signature
    assert signature.inputs.inputs[0].shape == (-1, 1, 3, 16, 16)
    assert signature.outputs.inputs[0].shape == (-1, 8)
    folder = Path(mlflow.artifacts.download_artifacts(place))
    assert sorted(file.name for file in (folder / "data").iterdir()) == ["model.pt2"]
    with zipfile.ZipFile(folder / "data" / "model.pt2") as archive:
        assert not [name for name in archive.namelist() if name.endswith(".pkl")]
    outputs = stored(uri, tracker).outputs
    assert outputs
    (model,) = outputs.model_outputs
    assert MlflowClient(uri).get_logged_model(model.model_id).status == "READY"


class Untraceable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(x.sum()) if float(x.sum()) > 0 else x


def test_an_encoder_that_cannot_be_exported_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = default_uri(tmp_path)
    with Tracker.start(uri, "pairs", "first") as tracker:
        tracker.log_encoder(Untraceable(), np.ones((2, 3), np.float32))
    assert stored(uri, tracker).info.status == "FINISHED"
    assert "MLflow does not get the encoder" in caplog.text
