"""A sound as a picture: its log-mel spectrogram, `frame_size` bands high and as many columns long.

The first row is the highest band. 0 is 80 dB below the loudest that the file's numbers can say,
255 is that. Files are wav, read by scipy: 8, 16, 24 and 32 bits, and floats.
"""

import io
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile  # type: ignore[import-untyped]

from pipelines.config.data import DataConfig
from pipelines.pairs.files import EntryError

RANGE_DB = 80.0
LOWEST_HZ = 40.0
WINDOW_SECONDS = 0.025
_MEL_BREAK, _MEL_SCALE = 700.0, 2595.0
Array = NDArray[Any]


def read_sound(content: bytes) -> tuple[int, NDArray[np.float32]]:
    """Samples per second, and the samples of all channels' mean in [-1, 1].

    Raises:
        EntryError: if it is no wav file, or holds no sound.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that it skips
            rate, samples = wavfile.read(io.BytesIO(content))
    except Exception as error:  # scipy raises what it meets: struct.error, ValueError, …
        raise EntryError(f"not a wav file: {error}") from error
    if rate <= 0 or not samples.size:
        raise EntryError("holds no sound")
    if samples.dtype == np.uint8:
        scaled = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        scaled = samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    else:
        scaled = samples.astype(np.float32)
    mono = scaled.mean(axis=1) if scaled.ndim == 2 else scaled
    if not np.isfinite(mono).all():
        raise EntryError("damaged sound: its samples are not finite")
    return int(rate), mono


def spectrogram(content: bytes, config: DataConfig, crop: NDArray[np.float64]) -> NDArray[np.uint8]:
    """uint8 [1, side, side, channels] of `data.sound_seconds`, cut along time where `crop` says.

    Raises:
        EntryError: if it is no wav file, or holds no sound.
    """
    rate, samples = read_sound(content)
    side = config.frame_size
    length = max(side, round(config.sound_seconds * rate))
    if len(samples) > length:
        first = round((len(samples) - length) * float(crop[1]))
        samples = samples[first : first + length]
    window = max(16, round(WINDOW_SECONDS * rate))
    padded = np.zeros(length + window, np.float32)
    padded[window // 2 : window // 2 + len(samples)] = samples
    starts = np.linspace(0, length - 1, side).round().astype(np.int64)
    frames = padded[starts[:, None] + np.arange(window)] * np.hanning(window + 2)[1:-1]
    size = max(512, 1 << (window - 1).bit_length())
    power = np.abs(np.fft.rfft(frames, size, axis=1)) ** 2 / (window / 4) ** 2  # 1: a full sine
    bands = power @ mel_bands(side, size, rate).T
    level = 10 * np.log10(np.maximum(bands, 1e-12)) / RANGE_DB + 1
    picture = np.rint(255 * np.clip(level, 0, 1)).astype(np.uint8).T[::-1]
    return np.ascontiguousarray(np.repeat(picture[None, :, :, None], config.channels, axis=3))


@lru_cache(maxsize=8)
def mel_bands(num_bands: int, size: int, rate: int) -> Array:
    """Triangles [bands, frequencies] evenly spaced in mel, each with a sum of 1.

    A band narrower than the distance of two frequencies takes its share of both.
    """
    edges = np.linspace(_mel(min(LOWEST_HZ, rate / 4)), _mel(rate / 2), num_bands + 2)
    hertz = _MEL_BREAK * (10 ** (edges / _MEL_SCALE) - 1)
    distance = rate / size
    low, mid, high = hertz[:-2, None], hertz[1:-1, None], hertz[2:, None]
    low, high = np.minimum(low, mid - distance), np.maximum(high, mid + distance)
    at = np.fft.rfftfreq(size, 1 / rate)
    triangles = np.minimum((at - low) / (mid - low), (high - at) / (high - mid)).clip(min=0)
    bands: Array = triangles / np.maximum(triangles.sum(axis=1, keepdims=True), 1e-12)
    return bands


def _mel(hertz: float) -> float:
    return float(_MEL_SCALE * np.log10(1 + hertz / _MEL_BREAK))
