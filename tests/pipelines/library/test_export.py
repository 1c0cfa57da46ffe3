"""Export: the same numbers, graphs for any batch, a card that says all, nothing overwritten."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import adassl
from pipelines.config.run import ConfigError
from pipelines.evaluation.evaluate import restored
from pipelines.library.card import nearest_recipe
from pipelines.library.encoders import find_encoder
from pipelines.library.export import TOLERANCE, export
from pipelines.recipes import recipe
from pipelines.storage.folder import Folder
from pipelines.storage.runs import RunFolder
from pipelines.tracking import TrackingError
from pipelines.video.index import VideoIndex
from tests.buckets import KEYS, s3_server
from tests.pipelines.library.small_runs import FRAMES, SIDE, pairs, small_run
from tests.processes import here

BACKBONES: dict[str, dict[str, Any]] = {
    "conv3d": {},
    "vit": {
        "backbone.name": "vit_ti",
        "backbone.hidden_dims": None,
        "backbone.tubelet": (4, 16),
        "backbone.token_drop": 0.5,
    },
    "frames": {"backbone.name": "frames_resnet18", "backbone.hidden_dims": None},
    "grey": {"data.grayscale": True, "data.crop": "random", "method.objective": "byol"},
}


def backbone(name: str, folder: Path) -> dict[str, Any]:
    """Settings of a backbone; a model of transformers is made on the spot."""
    if name != "transformers":
        return BACKBONES[name]
    transformers: Any = importlib.import_module("transformers")
    config = transformers.VideoMAEConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        intermediate_size=32,
        patch_size=16,
        num_frames=FRAMES,
        tubelet_size=2,
    )
    transformers.AutoModel.from_config(config).save_pretrained(folder / "model")
    fixed: dict[str, Any] = {"backbone.name": "transformers", "backbone.hidden_dims": None}
    return {**fixed, "backbone.model": str(folder / "model")}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return small_run(tmp_path / "runs" / "first")[0]


def expected(run: RunFolder, checkpoint: str, frames: torch.Tensor) -> tuple[Any, Any]:
    """h and z as the run's own learner gives them."""
    learner = restored(run, checkpoint)
    learner.method.eval()
    with torch.no_grad():
        found = learner.method.encode(learner.to_input(frames.numpy()))
    return found.representation, found.embedding


@pytest.mark.parametrize(
    "name",
    [
        *("conv3d", "grey"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("vit", "frames", "transformers")),
    ],
)
def test_a_loaded_encoder_gives_what_the_learner_gives(name: str, tmp_path: Path) -> None:
    run, _ = small_run(tmp_path / "runs" / name, changes=backbone(name, tmp_path))
    done = export(run, Folder(tmp_path / "out"), form="torch-export")
    frames = torch.from_numpy(pairs(done.encoder.config.data.channels).context)
    h, z = expected(run, "best", frames)
    loaded = adassl.load(tmp_path / "out")
    assert torch.equal(loaded.embed_clip(frames), h)
    assert torch.equal(loaded.project(h), z)
    graph = torch.export.load(tmp_path / "out" / "model.pt2").module()
    for batch in (frames[:1], frames, torch.cat([frames, frames])):
        ours = loaded.embed_clip(batch)
        given = graph(batch)[0]
        torch.testing.assert_close(given, ours, rtol=0, atol=TOLERANCE * float(ours.abs().max()))
    assert done.difference is not None
    assert done.difference <= TOLERANCE


@pytest.mark.parametrize(
    "name",
    [
        "conv3d",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("vit", "frames", "transformers")),
    ],
)
def test_onnx_gives_what_torch_gives_for_any_batch(name: str, tmp_path: Path) -> None:
    runtime: Any = importlib.import_module("onnxruntime")
    run, _ = small_run(tmp_path / "runs" / name, changes=backbone(name, tmp_path))
    done = export(run, Folder(tmp_path / "out"), form="onnx")
    assert done.files == ("model.safetensors", "model.onnx", "README.md", "config.json")
    session = runtime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    (taken,) = session.get_inputs()
    assert taken.type == "tensor(uint8)"
    assert taken.shape[1:] == [FRAMES, SIDE, SIDE, 3]
    frames = torch.from_numpy(pairs().context)
    for batch in (frames[:1], frames[:3], torch.cat([frames, frames])):
        h, z = session.run(["representation", "embedding"], {"frames": batch.numpy()})
        for given, ours in zip((h, z), expected(run, "best", batch), strict=True):
            scale = float(ours.abs().max())
            assert abs(torch.from_numpy(given) - ours).max() <= TOLERANCE * scale


def test_a_graph_that_cannot_be_is_refused_and_nothing_is_written(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.library.export.TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match="the graph differs from torch"):
        export(run, Folder(tmp_path / "out"), form="torch-export")
    assert not (tmp_path / "out").exists()


def test_the_best_checkpoint_is_exported_unless_the_newest_is_asked_for(
    run: RunFolder, tmp_path: Path
) -> None:
    frames = torch.from_numpy(pairs().context)
    for checkpoint, step, value in (("best", 4, 2.0), ("newest", 6, 1.5)):
        done = export(run, Folder(tmp_path / checkpoint), checkpoint=checkpoint)
        source = done.encoder.source
        assert (source.step, source.best_metric) == (step, "max:val/next_clip_nats")
        assert source.best_value == value
        found = adassl.load(tmp_path / checkpoint).embed_clip(frames)
        assert torch.equal(found, expected(run, checkpoint, frames)[0])


def test_the_card_says_what_it_is(tmp_path: Path, spelled: VideoIndex) -> None:
    index = tmp_path / "videos.parquet"
    importlib.import_module("pyarrow.parquet").write_table(spelled.table, index)
    changes = {"method.beta": 0.37, "method.temperature": 0.22}
    run, _ = small_run(
        tmp_path / "runs" / "first", index=index, digest=spelled.digest(), changes=changes
    )
    export(run, Folder(tmp_path / "out"), license_text="CC BY 4.0", form="torch-export")
    card = (tmp_path / "out" / "README.md").read_text()
    assert adassl.load(tmp_path / "out").card == card
    for words in (
        "licence of these weights: CC BY 4.0",
        spelled.digest(),
        f"| train | {len(spelled)} |",
        "| method.beta | ",
        " 0.37 |",
        "| test/digit/linear_accuracy | 0.75 |",
        "| val/next_clip_nats | 2 |",  # of step 4, not of the end
        "None up to step 6.",
        "| torch |",
        "adassl.load(",
        "`model.pt2`",
        "| frames per second, median of the videos trained on | 25 |",
    ):
        assert words in card, words
    assert "latent_use/00" not in card
    preprocessing = adassl.load(tmp_path / "out").preprocessing
    assert preprocessing.frames_per_second == 25
    export(run, Folder(tmp_path / "out"))  # the licence and the graph stay in the card
    assert (tmp_path / "out" / "README.md").read_text() == card


def test_alarms_are_in_the_card(tmp_path: Path) -> None:
    run, learner = small_run(tmp_path / "runs" / "first")
    history = [
        {"step": float(s), "train/kl": 0.0, "train/beta": 0.1, "val/next_clip_nats": 1.0}
        for s in range(21, 25)
    ]
    state = {**learner.state_dict(), "history": history}
    run.checkpoints.save(6, state, best_value=3.0, mode="max", by="max:val/next_clip_nats")
    export(run, Folder(tmp_path / "out"))
    assert (
        "- step 23: kl collapse since step 21: r is not used"
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_the_nearest_recipe_is_the_one_that_was_used() -> None:
    for name in ("videos", "moving-digits", "digits-byol"):
        assert nearest_recipe(recipe(name)) == (name, {})


def test_a_folder_is_not_written_over(run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not export(run, Folder(out)).was_there
    again = export(run, Folder(out), form="torch-export")
    assert again.was_there
    assert (out / "model.pt2").is_file()
    assert "model.pt2" in (out / "README.md").read_text()
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(ConfigError, match=r"holds another encoder \(run first, step 4\)"):
        export(run, Folder(out), checkpoint="newest")
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    with pytest.raises(ConfigError, match="holds something else, such as a run"):
        export(run, run.folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("…")
    with pytest.raises(ConfigError, match=r"other files, such as thesis\.tex"):
        export(run, Folder(tmp_path / "other"))


def test_an_export_that_was_cut_off_is_no_export_and_is_made_anew(
    run: RunFolder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(run, Folder(out), form="torch-export")
    (out / "config.json").unlink()  # it is written last
    with pytest.raises(ValueError, match="no exported encoder"):
        adassl.load(out)
    (out / "model.safetensors").write_bytes(b"half")
    export(run, Folder(out), checkpoint="newest")
    assert not (out / "model.pt2").exists()  # of the other checkpoint
    adassl.load(out)


def test_a_run_and_its_export_are_the_same_encoder(run: RunFolder, tmp_path: Path) -> None:
    export(run, Folder(tmp_path / "out"))
    one, other = find_encoder(str(run)), find_encoder(str(tmp_path / "out"))
    assert one.identity() == other.identity()
    assert one.source == other.source
    assert one.data == other.data
    assert find_encoder(str(run), "newest").identity() != one.identity()


def test_a_run_and_its_export_may_be_in_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = small_run(tmp_path / "runs" / "first", values=(1.0,))
    with s3_server("bucket") as address:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        there = Folder("s3://bucket/runs/first")
        for file in Path(str(run)).rglob("*"):
            if file.is_file() and file.name != ".lease":
                there.put(file, str(file.relative_to(str(run))))
        out = Folder("s3://bucket/out")
        assert not export(RunFolder(there), out).was_there
        assert export(RunFolder(there), out).was_there
        found = find_encoder("s3://bucket/out")
        assert found.identity() == find_encoder(str(run)).identity()
        assert "# first" in found.encoder.card


def test_wrong_commands_fail_in_words(run: RunFolder, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for arguments, words in (
        (["export", str(tmp_path / "nowhere"), "--out", out], "holds no run"),
        (["export", str(run), "--out", out, "--register", "e"], "has no run in MLflow"),
        (["export", str(run), "--out", str(run)], "give --out another folder"),
    ):
        status, printed = here(tmp_path, arguments)
        assert status == 2, printed
        assert words in printed
    with pytest.raises(TrackingError):
        export(run, Folder(out), register="encoder")


def test_the_command_says_what_it_did(run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["export", str(run), "--out", str(out), "--format", "torch-export"]
    status, printed = here(tmp_path, command)
    assert status == 0, printed
    for words in ("step 4", "max:val/next_clip_nats: 2", "equal to torch within", "model.pt2"):
        assert words in printed
    config = json.loads((out / "config.json").read_text())
    assert config["source"]["run"] == "first"
