"""Spectrograms of tones that are known."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.io import wavfile  # type: ignore[import-untyped]

from pipelines.config.data import DataConfig
from pipelines.pairs.files import EntryError
from pipelines.pairs.make import make_table
from pipelines.pairs.rows import PairRows
from pipelines.pairs.sound import mel_bands, read_sound, spectrogram
from pipelines.pairs.stream import rows_here
from pipelines.sources.own_table import read_own_table
from pipelines.video.stream import Share

CONFIG = DataConfig(frames_per_clip=1, frame_size=32, grayscale=True)
MIDDLE = np.full(2, 0.5)


def wav(samples: NDArray[np.float64], dtype: str = "int16", rate: int = 8000) -> bytes:
    if dtype == "uint8":
        samples = np.rint(samples * 127 + 128)
    elif dtype != "float32":
        samples = np.rint(samples * np.iinfo(dtype).max)
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, samples.astype(dtype))
    return buffer.getvalue()


def tone(hertz: float, seconds: float = 1.0, rate: int = 8000) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 2500.0])
def test_a_tone_is_a_line_at_its_frequency(hertz: float) -> None:
    picture = spectrogram(wav(0.9 * tone(hertz)), CONFIG, MIDDLE)[0, :, :, 0]
    assert picture.shape == (32, 32)
    rows = 31 - picture[:, 4:-4].argmax(axis=0)
    centres = mel_bands(32, 512, 8000) @ np.fft.rfftfreq(512, 1 / 8000)
    nearest = np.abs(centres - hertz).argmin()
    assert np.abs(rows - nearest).max() <= 1
    assert picture.max() > 225, "near full scale"


def test_depth_channels_and_rate_do_not_matter() -> None:
    samples = 0.5 * tone(800.0)
    pictures = [
        spectrogram(wav(samples, dtype), CONFIG, MIDDLE).astype(int)
        for dtype in ("int16", "int32", "float32")
    ]
    for other in pictures[1:]:
        assert np.abs(other - pictures[0]).mean() < 3
    assert read_sound(wav(samples, "uint8"))[1] == pytest.approx(samples, abs=0.01)
    stereo = wav(np.stack([samples, samples], axis=1))
    np.testing.assert_array_equal(spectrogram(stereo, CONFIG, MIDDLE), pictures[0])
    fast = spectrogram(wav(0.5 * tone(800.0, rate=16000), rate=16000), CONFIG, MIDDLE)
    assert fast.shape == (1, 32, 32, 1)
    assert np.isfinite(mel_bands(64, 512, 8000)).all()
    assert (mel_bands(64, 512, 8000).sum(axis=1) > 0.99).all(), "no empty band"


def test_short_sounds_end_in_silence_and_long_ones_are_cut_where_the_crop_says() -> None:
    picture = spectrogram(wav(tone(1000.0, 0.5)), CONFIG, MIDDLE)[0, :, :, 0]
    assert picture[:, 20:].max() == 0
    assert picture[:, 4:12].max(axis=0).min() > 200
    parts = np.concatenate([tone(300.0), tone(2500.0)])
    early, late = (
        spectrogram(wav(parts), CONFIG, np.array([0.5, place]))[0, :, 16, 0].argmax()
        for place in (0.0, 1.0)
    )
    assert early > late, "low is below"


def test_what_is_no_sound_is_refused() -> None:
    for content, words in (
        (b"", "not a wav file"),
        (b"RIFF....WAVE", "not a wav file"),
        (wav(np.zeros(0)), "holds no sound"),
        (wav(np.array([0, np.nan]), "float32"), "not finite"),
    ):
        with pytest.raises(EntryError, match=words):
            read_sound(content)


def test_a_table_of_sounds(tmp_path: Path) -> None:
    names = [f"{n}.wav" for n in range(4)]
    for n, name in enumerate(names):
        (tmp_path / name).write_bytes(wav(tone(300.0 + 500 * n, 0.3)))
    (tmp_path / "bad.wav").write_bytes(b"none")
    rows = pd.DataFrame({"context": [*names, "bad.wav"], "target": [*names[::-1], "0.wav"]})
    rows.to_csv(tmp_path / "own.csv", index=False)
    listing = read_own_table(tmp_path / "own.csv")
    assert dict(listing.kinds) == {"context": "sound", "target": "sound"}
    made = make_table(listing, str(tmp_path / "t.parquet"), val_share=0, test_share=0)
    assert [reason.split(":")[0] for reason in made.skipped.values()] == ["not a wav file"]
    table = made.table.select(split="train")
    batch = rows_here(PairRows(table, CONFIG, seed=0, global_batch_size=4), range(1), Share())[0]
    assert batch.context.shape == (4, 1, 32, 32, 1)
    order = batch.start
    heights = batch.context[np.argsort(order), 0, :, 4, 0].argmax(axis=1)
    assert (np.diff(heights) < 0).all(), "the higher the tone, the higher in the picture"
