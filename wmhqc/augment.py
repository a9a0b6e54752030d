"""Random changes of a prepared volume: for training, and for testing what QC notices.

Every artefact is a function ``(volume, severity, rng) -> volume`` with severity 0 (unchanged)
to 1 (severe); what 1 means stands in its docstring. `ARTEFACTS` names them all, for a stress
test. `paper_augment` is the paper's training augmentation, `train_augment` one that also
varies contrast and resolution, so that a network trained on few or synthetic cases meets a
real scan less surprised.

Volumes are float32 (n, n, n, channels) in [0, 255] with 0 outside the brain, as made by
`wmhqc.preprocess`. Artefacts stay inside the brain: a scan has its noise before the brain is
cut out, so outside the brain a prepared volume is 0 whatever the scanner did. Each channel
gets its own draw, as in the paper. The same generator state gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import numpy as np

#: Probability of each step of the paper's augmentation.
PAPER_PROBABILITY = 0.7


# --- geometry ------------------------------------------------------------------------------


def affine(
    volume: np.ndarray, mask: np.ndarray | None, rng: np.random.Generator, probability: float = PAPER_PROBABILITY
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rotate, enlarge and shear volume and mask alike, about the centre.

    Each of the three happens with `probability` and the paper's parameters: rotation by whole
    degrees from -10 to 9 about each axis, enlargement by 1 to 1.2 along each axis, shear by 0
    to 0.2. They are composed, so the volume is resampled once; linearly, which takes less than
    a tenth of the time of the paper's cubic interpolation. 0 moves in from outside.

    Parameters
    ----------
    volume : float array (n, n, n, channels)
    mask : uint8 array (n, n, n) or None
        Resampled linearly and cut at 0.5, which keeps its volume.
    """
    matrix = np.eye(3)
    if rng.random() < probability:
        matrix = matrix @ _rotation(np.radians(rng.integers(-10, 10, 3)))
    if rng.random() < probability:
        matrix = matrix @ np.diag(1 / rng.uniform(1, 1.2, 3))
    if rng.random() < probability:
        a, b, c, d = rng.uniform(0, 0.2, 4)
        # the published code draws four numbers and uses the first two twice
        matrix = matrix @ np.linalg.inv([[1, a, b], [d, 1, c], [a, b, 1]])
    volume = np.stack([_transform(channel, matrix) for channel in _channels(volume)], axis=-1)
    if mask is not None:
        mask = (_transform(mask.astype(np.float32), matrix) >= 0.5).astype(np.uint8)
    return volume, mask


def flip(volume: np.ndarray, mask: np.ndarray | None, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """Mirror left and right with probability 0.5 (not in the paper; lesions have no side)."""
    if rng.random() < 0.5:
        return volume, mask
    return volume[::-1].copy(), None if mask is None else mask[::-1].copy()


def move(volume: np.ndarray, mask: np.ndarray | None, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """`flip`, then `affine`: what changes no brightness."""
    return affine(*flip(volume, mask, rng), rng)


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix Rx Ry Rz."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[j, i] = np.sin(angle)
        step[i, j] = -step[j, i]
        matrix = matrix @ step
    return matrix


def _transform(image: np.ndarray, matrix: np.ndarray, shift=(0, 0, 0)) -> np.ndarray:
    """Value at x comes from ``matrix @ x + shift``, x in voxels from the centre; linear."""
    import SimpleITK as sitk

    source = sitk.GetImageFromArray(image)
    # SimpleITK counts axes from the last to the first.
    transform = sitk.AffineTransform(
        matrix[::-1, ::-1].ravel().tolist(),
        [float(s) for s in shift][::-1],
        [(n - 1) / 2 for n in image.shape[::-1]],
    )
    return sitk.GetArrayFromImage(sitk.Resample(source, source, transform, sitk.sitkLinear, 0.0))


# --- artefacts -----------------------------------------------------------------------------

Artefact = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]

#: Every artefact by name.
ARTEFACTS: dict[str, Artefact] = {}


def _artefact(change: Artefact) -> Artefact:
    """Make a change of one channel an artefact of a volume, inside the brain and in [0, 255]."""

    @wraps(change)
    def artefact(volume: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
        if not 0 <= severity <= 1:
            raise ValueError(f"severity must be from 0 to 1, got {severity}")
        if severity == 0:
            return volume
        channels = _channels(volume)
        return _volume([change(channel, severity, rng) for channel in channels], channels)

    ARTEFACTS[change.__name__] = artefact
    return artefact


def _channels(volume: np.ndarray) -> list[np.ndarray]:
    """The channels one after the other in memory, which makes every step faster."""
    return [np.ascontiguousarray(volume[..., i]) for i in range(volume.shape[-1])]


def _volume(changed: list[np.ndarray], channels: list[np.ndarray]) -> np.ndarray:
    """Put changed channels together, clipped to [0, 255] and 0 where all channels were 0."""
    brain = np.logical_or.reduce([channel > 0 for channel in channels])
    volume = np.empty((*brain.shape, len(changed)), np.float32)
    for i, channel in enumerate(changed):
        volume[..., i] = np.clip(channel, 0, 255) * brain
    return volume


@_artefact
def gibbs(image: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Ringing: the outer part of k-space is missing in every axial slice.

    Of n lines along x and y, a share 1 - 5/6 severity is kept (paper: severity 0.2 to 1).
    """
    from scipy import fft

    spectrum = fft.rfft2(image, axes=(1, 0))
    keep = max(1, round(len(image) * (1 - 5 / 6 * severity) / 2))
    spectrum[keep:] = 0
    spectrum[:, keep : image.shape[1] - keep + 1] = 0
    return np.abs(fft.irfft2(spectrum, s=image.shape[1::-1], axes=(1, 0)))


@_artefact
def spike(image: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Stripes: one point of k-space is far too large, which adds one plane wave.

    About n/5 waves across the volume, as in the paper. Severity 1: as high as 25 % of the
    range. (The paper's height, 2 to 20, has no unit; this one is ours.)
    """
    n = len(image)
    waves = round(n / 5) + rng.integers(-(n // 16), n // 16 + 1, 2)
    x = 2 * np.pi * np.arange(n, dtype=np.float32) / n
    phase = -waves[0] * x[:, None] + waves[1] * x + rng.uniform(0, 2 * np.pi)
    height = 0.25 * 255 * severity
    # magnitude of image + height exp(i phase)
    return np.sqrt(image**2 + 2 * height * np.cos(phase)[..., None].astype(np.float32) * image + height**2)


@_artefact
def ghosting(image: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Ghosts: faint shifted copies, as every second to fourth line of k-space differs.

    The other lines are weakened or strengthened by 70 % at severity 1 (paper: 0 to 0.5).
    """
    from scipy import fft

    axis, every, sign = rng.integers(0, 2), rng.integers(2, 5), rng.choice([-1, 1])
    spectrum = fft.rfft(image, axis=axis)
    line = np.arange(spectrum.shape[axis])
    weight = np.where(line % every == 0, 1, 1 + sign * 0.7 * severity).astype(np.float32)
    spectrum *= weight[:, None, None] if axis == 0 else weight[:, None]
    return np.abs(fft.irfft(spectrum, image.shape[axis], axis=axis))


@_artefact
def gaussian_noise(image: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, SD 35 at severity 1 (paper: SD 0 to 7, severity 0 to 0.2).

    The paper's mean of 0 to 120 is left out: its rescaling to [0, 255] removes it again.
    """
    return image + np.float32(35 * severity) * rng.standard_normal(image.shape, np.float32)


@_artefact
def zipper(image: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """A bright line through every slice, at 0.75 to 0.95 of the range.

    Severity 1: n/20 voxels wide (paper: up to 3 voxels, severity 0 to 0.5).
    """
    n = len(image)
    axis, start = rng.integers(0, 2), rng.integers(4, n - 4)
    brightness = 255 * rng.uniform(0.75, 0.95, (n, n))
    width = int(np.ceil(severity * n / 20))
    changed = image.copy()
    line = np.moveaxis(changed, axis, 0)[start : start + width]
    line[:] = brightness
    return changed


@_artefact
def motion(image: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """The head moves while the outer lines of k-space are read: ghosts and blur along y.

    Severity 1: turned by up to 8 degrees and shifted by up to 6 % of the volume. The centre of
    k-space is from the unmoved head, so lesions stay where their mask is. Not in the paper.
    """
    from scipy import fft

    n = len(image)
    spectrum = fft.fft(image, axis=1)
    lines = fft.fftfreq(n, 1 / n)
    for outer in (lines < -n / 32, lines > n / 32):
        angles = severity * np.radians(rng.uniform(-8, 8, 3))
        shift = severity * 0.06 * n * rng.uniform(-1, 1, 3)
        moved = _transform(image, _rotation(angles), shift)
        spectrum[:, outer] = fft.fft(moved, axis=1)[:, outer]
    return np.abs(fft.ifft(spectrum, axis=1))


@_artefact
def bias_field(image: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth shading: severity 1 is a factor of up to 2.5 up and down. Not in the paper.

    A random polynomial of third degree; the brightest voxel keeps its brightness.
    """
    x = np.linspace(-1, 1, len(image), dtype=np.float32)
    degree = np.add.outer(np.add.outer(np.arange(4), np.arange(4)), np.arange(4))
    weights = rng.uniform(-1, 1, (4, 4, 4)) * ((degree > 0) & (degree <= 3))
    field = np.polynomial.legendre.leggrid3d(x, x, x, weights.astype(np.float32))
    shaded = image * np.exp(field * np.float32(severity * np.log(2.5) / np.abs(field).max()))
    return shaded * (image.max() / max(shaded.max(), 1e-6))


@_artefact
def low_resolution(image: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Thick slices along one axis, interpolated: n/12 voxels thick at severity 1. Not in the paper."""
    from scipy import ndimage

    n, axis = len(image), int(rng.integers(0, 3))
    slices = max(2, round(n / (1 + severity * (n / 12 - 1))))
    thickness = n / slices
    thick = ndimage.uniform_filter1d(image, round(thickness), axis=axis, mode="nearest")
    thick = thick.take(((np.arange(slices) + 0.5) * thickness).astype(int), axis=axis)
    place = np.clip((np.arange(n) + 0.5) / thickness - 0.5, 0, slices - 1)
    before = np.minimum(place.astype(int), slices - 2)
    share = (place - before).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    return thick.take(before, axis) * (1 - share) + thick.take(before + 1, axis) * share


# --- training ------------------------------------------------------------------------------

#: The paper's artefacts in its order, with the range of severity it trains with.
PAPER_SEVERITY = {
    gibbs: (0.2, 1.0),
    spike: (0.0, 1.0),
    ghosting: (0.0, 0.5),
    gaussian_noise: (0.0, 0.2),
    zipper: (0.0, 0.5),
}


def paper_augment(
    volume: np.ndarray, mask: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """The paper's augmentation: `affine`, then each of five artefacts with probability 0.7.

    T1 and FLAIR move together; their artefacts are drawn independently.
    """
    volume, mask = affine(volume, mask, rng)
    channels = []
    for channel in np.split(volume, volume.shape[-1], axis=-1):
        for artefact, (least, most) in PAPER_SEVERITY.items():
            if rng.random() < PAPER_PROBABILITY:
                channel = artefact(channel, rng.uniform(least, most), rng)
        channels.append(channel)
    return np.concatenate(channels, axis=-1), mask


def randomise_contrast(volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change how bright tissue looks, for each channel: gamma, contrast and brightness.

    Gamma from 0.67 to 1.5, contrast 0.8 to 1.25, brightness -25 to 25 of 255; as scanners and
    sequences differ more than the training cases do. Not in the paper.
    """
    channels, changed = _channels(volume), []
    for channel in channels:
        gamma, contrast = np.exp(rng.uniform((-0.4, -0.22), (0.4, 0.22)))
        table = 255 * np.linspace(0, 1, 256) ** gamma
        table = (table - 128) * contrast + 128 + rng.uniform(-25, 25)
        changed.append(table.astype(np.float32)[(channel + 0.5).astype(np.uint8)])
    return _volume(changed, channels)


def train_augment(
    volume: np.ndarray, mask: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Augmentation for training when the scans to come differ from those at hand.

    `move`, `randomise_contrast`, and mild bias field, low resolution and noise, each
    with probability 0.5; with probability 0.2 one more artefact of any kind. Milder and faster
    than `paper_augment`, whose missing k-space erases small lesions that the mask still has.
    """
    volume, mask = move(volume, mask, rng)
    volume = randomise_contrast(volume, rng)
    for artefact, most in ((bias_field, 0.5), (low_resolution, 0.4), (gaussian_noise, 0.3)):
        if rng.random() < 0.5:
            volume = artefact(volume, rng.uniform(0, most), rng)
    if rng.random() < 0.2:
        artefact = ARTEFACTS[rng.choice(list(ARTEFACTS))]
        volume = artefact(volume, rng.uniform(0, 0.5), rng)
    return volume, mask
