"""The 160 columns of ``ultra`` as a notebook computes them: librosa's functions on ``y``, each on its own. Slow on purpose.

F0 and voicing come from pYIN. Jitter, shimmer and harmonics-to-noise ratio, which librosa does not have, are taken from that
track's frames with NumPy: cheaper than measuring cycles, and it flatters this side of the comparison.
"""

from pathlib import Path

import librosa
import numpy as np
import scipy.stats

SR = 22050
PITCH_CLASSES = ("c", "cs", "d", "ds", "e", "f", "fs", "g", "gs", "a", "as", "b")


def extract(path: str | Path) -> dict[str, float]:
    """One value for each column of ``ultra`` [160 entries]."""
    y, _ = librosa.load(path, sr=SR, mono=True, duration=45)
    values = {"duration_s": librosa.get_duration(path=path)}
    for family in (_energy, _silence, _spectral, _voice, _mfcc, _mel, _chroma, _rhythm, _hpss, _quality):
        values |= family(y)
    return {name: float(value) for name, value in values.items()}


def _statistics(name: str, track: np.ndarray, unit: str = "") -> dict[str, float]:
    values = {f"{name}_mean{unit}": track.mean(), f"{name}_std{unit}": track.std()}
    return values | {f"{name}_p{p}{unit}": np.percentile(track, p) for p in (10, 50, 90)}


def _energy(y: np.ndarray) -> dict[str, float]:
    rms = librosa.feature.rms(y=y)[0]
    values = {"rms_mean": rms.mean(), "rms_std": rms.std(), "rms_min": rms.min(), "rms_max": rms.max()}
    values |= {f"rms_p{p}": np.percentile(rms, p) for p in (10, 25, 50, 75, 90)}
    return values | {
        "rms_skew": scipy.stats.skew(rms),
        "rms_kurtosis": scipy.stats.kurtosis(rms),
        "rms_delta_abs_mean": np.abs(np.diff(rms)).mean(),
        "rms_delta_std": np.diff(rms).std(),
        "rms_slope_per_s": np.polyfit(librosa.times_like(rms, sr=SR), rms, 1)[0],
    }


def _silence(y: np.ndarray) -> dict[str, float]:
    zcr = librosa.feature.zero_crossing_rate(y)[0]
    level_db = librosa.amplitude_to_db(librosa.feature.rms(y=y)[0], top_db=None)
    silent = level_db < np.percentile(level_db, 95) - 25
    lengths = np.diff(np.flatnonzero(np.diff(np.concatenate(([False], silent, [False])).astype(int))))[::2] * 512 / SR
    pauses = lengths[lengths >= 0.2]
    return {
        "zcr_mean": zcr.mean(),
        "zcr_std": zcr.std(),
        "zcr_p50": np.median(zcr),
        "zcr_max": zcr.max(),
        "silence_ratio": silent.mean(),
        "pause_count": len(pauses),
        "pause_rate": len(pauses) / (len(y) / SR),
        "pause_mean_s": pauses.mean() if len(pauses) else 0.0,
        "pause_std_s": pauses.std() if len(pauses) else 0.0,
        "pause_max_s": pauses.max() if len(pauses) else 0.0,
    }


def _spectral(y: np.ndarray) -> dict[str, float]:
    S = np.abs(librosa.stft(y))
    contrast = librosa.feature.spectral_contrast(y=y, sr=SR)
    over_bands = contrast.mean(axis=0)
    return (
        _statistics("centroid", librosa.feature.spectral_centroid(y=y, sr=SR)[0], "_hz")
        | _statistics("bandwidth", librosa.feature.spectral_bandwidth(y=y, sr=SR)[0], "_hz")
        | _statistics("rolloff", librosa.feature.spectral_rolloff(y=y, sr=SR)[0], "_hz")
        | _statistics("flatness", librosa.feature.spectral_flatness(y=y)[0])
        | _statistics("flux", np.linalg.norm(np.diff(S / S.sum(axis=0), axis=1), axis=0))
        | {f"contrast_b{band}_mean": row.mean() for band, row in enumerate(contrast)}
        | {
            "contrast_std": over_bands.std(),
            "contrast_p10": np.percentile(over_bands, 10),
            "contrast_p90": np.percentile(over_bands, 90),
        }
    )


def _voice(y: np.ndarray) -> dict[str, float]:
    f0, voiced, _ = librosa.pyin(y, fmin=65, fmax=500, sr=SR)
    rms = librosa.feature.rms(y=y)[0]
    times = librosa.times_like(f0, sr=SR)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], voiced, [False])).astype(int))).reshape(-1, 2)
    runs = [(start, end) for start, end in edges if (end - start) * 512 / SR >= 0.1]
    slopes = [np.polyfit(times[a:b], 12 * np.log2(f0[a:b]), 1)[0] for a, b in runs]
    period, amplitude = 1 / f0[voiced], rms[: len(f0)][voiced]
    frames = librosa.util.frame(y, frame_length=2048, hop_length=512).T
    r = librosa.autocorrelate(frames * np.hanning(2048), max_size=340, axis=-1)
    peak = np.clip((r / np.maximum(r[:, :1], 1e-10))[:, 44:].max(axis=1), 1e-6, 1 - 1e-6)
    hnr_db = 10 * np.log10(peak / (1 - peak))
    p5, p50, p95 = np.percentile(f0[voiced], [5, 50, 95])
    return {
        "f0_mean_hz": f0[voiced].mean(),
        "f0_std_hz": f0[voiced].std(),
        "f0_median_hz": p50,
        "f0_p5_hz": p5,
        "f0_p95_hz": p95,
        "f0_range_st": 12 * np.log2(p95 / p5),
        "f0_slope_st_per_s": np.average(slopes, weights=[b - a for a, b in runs]) if runs else np.nan,
        "voiced_ratio": voiced.mean(),
        "voiced_runs_per_s": len(runs) / (len(y) / SR),
        "jitter_local": np.abs(np.diff(period)).mean() / period.mean(),
        "jitter_ppq5": np.abs(period[2:-2] - np.convolve(period, np.full(5, 0.2), "valid")).mean() / period.mean(),
        "shimmer_local": np.abs(np.diff(amplitude)).mean() / amplitude.mean(),
        "shimmer_apq5": np.abs(amplitude[2:-2] - np.convolve(amplitude, np.full(5, 0.2), "valid")).mean() / amplitude.mean(),
        "hnr_mean_db": hnr_db.mean(),
        "hnr_std_db": hnr_db.std(),
    }


def _mfcc(y: np.ndarray) -> dict[str, float]:
    M = librosa.feature.mfcc(y=y, sr=SR, n_mfcc=13)
    delta = librosa.feature.delta(M)
    values = {f"mfcc{index}_mean": M[index].mean() for index in range(1, 13)}
    return values | {f"mfcc{index}_delta_std": delta[index].std() for index in range(1, 13)}


def _mel(y: np.ndarray) -> dict[str, float]:
    mel = librosa.feature.melspectrogram(y=y, sr=SR)
    db = librosa.power_to_db(mel, ref=np.max)
    entropy = scipy.stats.entropy(mel + 1e-30, base=2, axis=0)
    energy = mel.sum(axis=0)
    level_db = librosa.power_to_db(energy, top_db=None)
    modulation = np.abs(np.fft.rfft((level_db - level_db.mean()) * np.hanning(len(level_db)))) ** 2
    f = np.fft.rfftfreq(len(level_db), 512 / SR)
    inside = (f >= 0.5) & (f <= 20)
    values = {f"mel_band{band}_share": mel[16 * band : 16 * band + 16].sum() / mel.sum() for band in range(8)}
    return values | {
        "mel_entropy_mean": entropy.mean(),
        "mel_entropy_std": entropy.std(),
        "mel_std_db": db.std(),
        "mel_range_db": np.percentile(db, 95) - np.percentile(db, 5),
        "mel_temporal_centroid": (energy * librosa.times_like(energy, sr=SR)).sum() / energy.sum() / (len(y) / SR),
        "syllable_band_share": modulation[(f >= 3) & (f <= 8)].sum() / modulation[inside].sum(),
        "modulation_peak_hz": f[inside][modulation[inside].argmax()],
    }


def _chroma(y: np.ndarray) -> dict[str, float]:
    cqt = librosa.feature.chroma_cqt(y=y, sr=SR)
    stft = librosa.feature.chroma_stft(y=y, sr=SR)
    shares = stft / np.maximum(stft.sum(axis=0), 1e-30)
    values = {f"chroma_cqt_{name}_mean": row.mean() for name, row in zip(PITCH_CLASSES, cqt, strict=True)}
    return values | {
        "chroma_cqt_std": cqt.std(axis=1).mean(),
        "chroma_stft_entropy": scipy.stats.entropy(shares + 1e-30, base=2, axis=0).mean(),
        "chroma_stft_peak_share": shares.max(axis=0).mean(),
        "chroma_stft_std": stft.std(axis=1).mean(),
    }


def _rhythm(y: np.ndarray) -> dict[str, float]:
    strength = librosa.onset.onset_strength(y=y, sr=SR)
    tempo, beats_s = librosa.beat.beat_track(y=y, sr=SR, units="time")
    pulse = librosa.feature.tempogram(y=y, sr=SR).mean(axis=1)[1:]
    return {
        "onset_strength_mean": strength.mean(),
        "onset_strength_std": strength.std(),
        "onset_strength_max": strength.max(),
        "onset_rate": len(librosa.onset.onset_detect(y=y, sr=SR)) / (len(y) / SR),
        "tempo_bpm": np.atleast_1d(tempo)[0],
        "beat_interval_std_s": np.diff(beats_s).std() if len(beats_s) >= 3 else np.nan,
        "tempogram_peak_ratio": pulse.max() / pulse.mean(),
        "tempogram_entropy": scipy.stats.entropy(np.maximum(pulse, 0), base=2),
    }


def _hpss(y: np.ndarray) -> dict[str, float]:
    H, Q = librosa.decompose.hpss(np.abs(librosa.stft(y)))
    h, q = (H**2).sum(axis=0), (Q**2).sum(axis=0)
    values = {
        "harmonic_energy_ratio": h.sum() / (h.sum() + q.sum()),
        "percussive_energy_ratio": q.sum() / (h.sum() + q.sum()),
        "hp_ratio_db": 10 * np.log10(h.sum() / q.sum()),
        "hp_ratio_std_db": (10 * np.log10(np.maximum(h, 1e-10) / np.maximum(q, 1e-10))).std(),
    }
    for name, part in (("harmonic", H), ("percussive", Q)):
        rms = librosa.feature.rms(S=part)
        values |= {
            f"{name}_rms_mean": rms.mean(),
            f"{name}_rms_std": rms.std(),
            f"{name}_centroid_mean_hz": librosa.feature.spectral_centroid(S=part, sr=SR).mean(),
            f"{name}_flatness_mean": librosa.feature.spectral_flatness(S=part).mean(),
        }
    return values


def _quality(y: np.ndarray) -> dict[str, float]:
    rms = np.sort(librosa.feature.rms(y=y)[0])
    level_db = librosa.amplitude_to_db(rms, top_db=None)
    power = (np.abs(librosa.stft(y)) ** 2).mean(axis=1)
    f = librosa.fft_frequencies(sr=SR)
    tilted = (f >= 100) & (f <= 8000)
    return {
        "crest_factor_db": 20 * np.log10(np.abs(y).max() / np.sqrt((y**2).mean())),
        "dynamic_range_db": np.percentile(level_db, 95) - np.percentile(level_db, 5),
        "snr_db": 20 * np.log10(rms[len(rms) // 2 :].mean() / max(rms[: max(1, len(rms) // 10)].mean(), 1e-10)),
        "clipping_ratio": (np.abs(y) >= 0.999).mean(),
        "dc_offset": y.mean(),
        "band_low_share": power[f < 250].sum() / power.sum(),
        "band_mid_share": power[(f >= 250) & (f < 1000)].sum() / power.sum(),
        "band_presence_share": power[(f >= 1000) & (f < 4000)].sum() / power.sum(),
        "band_high_share": power[f >= 4000].sum() / power.sum(),
        "spectral_tilt_db_per_oct": np.polyfit(np.log2(f[tilted]), 10 * np.log10(np.maximum(power[tilted], 1e-10)), 1)[0],
    }
