"""A trained module as an MLflow model that loads without running what it holds."""

import copy
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipelines.tracking.service import OpenRun


class ExportedEncoder:
    """A module's `torch.export` graph on disk: on the CPU, in evaluation mode, any batch size.

    Args:
        module: maps a tensor [batch, …] of the example's type to one tensor.
        example: at least one input; its shape but for the first dimension is the signature.
        name: of the MLflow model.
    """

    def __init__(self, module: nn.Module, example: NDArray[Any], name: str) -> None:
        import mlflow.pytorch
        from mlflow.models import Model, infer_signature

        # torch.export takes a dimension of size 1 for a constant, so a batch of two is traced.
        inputs = np.concatenate([example[:2], example[:2]])[:2]
        module = copy.deepcopy(module).cpu().eval()
        with torch.no_grad():
            outputs = module(torch.from_numpy(inputs)).numpy()
        self._name, self._model = name, Model()
        self._temporary = TemporaryDirectory(prefix="adassl-encoder-")
        self.folder = Path(self._temporary.name) / name
        with warnings.catch_warnings():
            # torch says this of weights that are saved whole; what is read back is the same.
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")
            mlflow.pytorch.save_model(
                module,
                str(self.folder),
                mlflow_model=self._model,
                signature=infer_signature(inputs, outputs),
                input_example=inputs,
                serialization_format="pt2",
                pip_requirements=[
                    f"mlflow=={mlflow.__version__}",
                    f"torch=={torch.__version__.partition('+')[0]}",
                    f"numpy=={np.__version__}",
                ],
            )

    def send(self, run: OpenRun) -> None:
        """Upload it as a logged model of the run, found as `runs:/<run id>/<name>`.

        `mlflow.pytorch.log_model` does as much, but to the active run of the whole process.
        """
        from mlflow.entities import LoggedModelOutput

        client, info, model = run.client, run.run.info, self._model
        if model.model_id is None:  # not yet made by an earlier try
            made = client.create_logged_model(
                info.experiment_id, name=self._name, source_run_id=info.run_id
            )
            model.model_id, model.run_id = made.model_id, info.run_id
            model.artifact_path = made.artifact_location
            model.save(str(self.folder / "MLmodel"))
        client.log_model_artifacts(model.model_id, str(self.folder))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(info.run_id, [LoggedModelOutput(model.model_id, step=0)])
        self._temporary.cleanup()
