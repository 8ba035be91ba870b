"""The references that FEATURES.csv names, computed plainly with librosa, NumPy and SciPy, as a notebook would."""

import librosa
import numpy as np
import scipy.stats

SR = 22050
EXACT = ("onset_rate", "tempo_bpm", "beat_interval_std_s")
PITCH_CLASSES = ("c", "cs", "d", "ds", "e", "f", "fs", "g", "gs", "a", "as", "b")


def librosa_reference(path):
    """Columns of ``ultra`` and ``mfcc`` by bare name: equal names are equal columns in both sets."""
    y, _ = librosa.load(path, sr=SR, mono=True, duration=45)
    S = np.abs(librosa.stft(y))
    P = S**2
    values = {"duration_s": librosa.get_duration(path=path)}
    return values | _energy(y) | _spectral(y, S) | _cepstral(y) | _mel(y) | _chroma(y, P) | _rhythm(y) | _hpss(S)


def _energy(y):
    rms = librosa.feature.rms(y=y)[0]
    zcr = librosa.feature.zero_crossing_rate(y)[0]
    times = librosa.times_like(rms, sr=SR)
    values = {"mean": rms.mean(), "std": rms.std(), "min": rms.min(), "max": rms.max()}
    values |= {f"p{p}": np.percentile(rms, p) for p in (10, 25, 50, 75, 90)}
    values |= {"skew": scipy.stats.skew(rms), "kurtosis": scipy.stats.kurtosis(rms)}
    values |= {"delta_abs_mean": np.abs(np.diff(rms)).mean(), "delta_std": np.diff(rms).std()}
    values |= {"slope_per_s": np.polyfit(times, rms, 1)[0]}
    crossings = {"zcr_mean": zcr.mean(), "zcr_std": zcr.std(), "zcr_p50": np.median(zcr), "zcr_max": zcr.max()}
    return {f"rms_{name}": value for name, value in values.items()} | crossings


def _spectral(y, S):
    shares = S / np.where(S.sum(0) > 0, S.sum(0), 1)
    tracks = {
        ("centroid", "_hz"): librosa.feature.spectral_centroid(S=S, sr=SR)[0],
        ("bandwidth", "_hz"): librosa.feature.spectral_bandwidth(S=S, sr=SR)[0],
        ("rolloff", "_hz"): librosa.feature.spectral_rolloff(S=S, sr=SR)[0],
        ("flatness", ""): librosa.feature.spectral_flatness(S=S)[0],
        ("flux", ""): np.linalg.norm(np.diff(shares, axis=1), axis=0),
    }
    values = {}
    for (name, unit), track in tracks.items():
        values |= {f"{name}_mean{unit}": track.mean(), f"{name}_std{unit}": track.std()}
        values |= {f"{name}_p{p}{unit}": np.percentile(track, p) for p in (10, 50, 90)}
    contrast = librosa.feature.spectral_contrast(S=S, sr=SR)
    mean = contrast.mean(0)
    values |= {f"contrast_b{band}_mean": row.mean() for band, row in enumerate(contrast)}
    return values | {"contrast_std": mean.std(), "contrast_p10": np.percentile(mean, 10), "contrast_p90": np.percentile(mean, 90)}


def _cepstral(y):
    M = librosa.feature.mfcc(y=y, sr=SR, n_mfcc=20)
    values = {}
    for suffix, matrix in (("", M), ("_delta", librosa.feature.delta(M)), ("_delta2", librosa.feature.delta(M, order=2))):
        for index, row in enumerate(matrix):
            values |= {f"mfcc{index}{suffix}_mean": row.mean(), f"mfcc{index}{suffix}_std": row.std()}
    return values


def _mel(y):
    mel = librosa.feature.melspectrogram(y=y, sr=SR)
    db = librosa.power_to_db(mel, ref=np.max)
    values = {f"mel_band{band}_share": mel[16 * band : 16 * band + 16].sum() / mel.sum() for band in range(8)}
    return values | {"mel_std_db": db.std(), "mel_range_db": np.percentile(db, 95) - np.percentile(db, 5)}


def _chroma(y, P):
    tuning = librosa.estimate_tuning(S=P, sr=SR, bins_per_octave=12)
    cqt = librosa.feature.chroma_cqt(y=y, sr=SR, tuning=(3 * tuning + 0.5) % 1 - 0.5)
    stft = librosa.feature.chroma_stft(S=P, sr=SR, tuning=tuning)
    total = stft.sum(0, dtype=np.float64)
    shares = stft / np.where(total > 0, total, 1)
    values = {f"chroma_cqt_{name}_mean": row.mean() for name, row in zip(PITCH_CLASSES, cqt, strict=True)}
    return values | {
        "chroma_cqt_std": cqt.std(1).mean(),
        "chroma_stft_entropy": np.where(total > 0, scipy.stats.entropy(np.maximum(shares, 1e-300), base=2, axis=0), 0).mean(),
        "chroma_stft_peak_share": shares.max(0).mean(),
        "chroma_stft_std": stft.std(1).mean(),
    }


def _rhythm(y):
    strength = librosa.onset.onset_strength(y=y, sr=SR)
    tempo, beats = librosa.beat.beat_track(y=y, sr=SR, units="time")
    pulse = librosa.feature.tempogram(y=y, sr=SR).mean(1)[1:]
    positive = np.maximum(pulse, 0)
    return {
        "onset_strength_mean": strength.mean(),
        "onset_strength_std": strength.std(),
        "onset_strength_max": strength.max(),
        "onset_rate": len(librosa.onset.onset_detect(y=y, sr=SR)) / (len(y) / SR),
        "tempo_bpm": float(np.atleast_1d(tempo)[0]),
        "beat_interval_std_s": np.diff(beats).std() if len(beats) >= 3 else np.nan,
        "tempogram_peak_ratio": pulse.max() / pulse.mean(),
        "tempogram_entropy": scipy.stats.entropy(positive / positive.sum(), base=2),
    }


def _hpss(S):
    H, Q = librosa.decompose.hpss(S)
    h, q = (H**2).sum(), (Q**2).sum()
    values = {"harmonic_energy_ratio": h / (h + q), "percussive_energy_ratio": q / (h + q), "hp_ratio_db": 10 * np.log10(h / q)}
    for name, part in (("harmonic", H), ("percussive", Q)):
        rms = librosa.feature.rms(S=part)
        values |= {
            f"{name}_rms_mean": rms.mean(),
            f"{name}_rms_std": rms.std(),
            f"{name}_centroid_mean_hz": librosa.feature.spectral_centroid(S=part, sr=SR).mean(),
            f"{name}_flatness_mean": librosa.feature.spectral_flatness(S=part).mean(),
        }
    return values
