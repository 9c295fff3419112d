"""What kind of thing a pool holds, and so which changes leave its classes as they are."""

from __future__ import annotations

from dataclasses import dataclass, field

_GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_GRAY = ("autocontrast", "brightness", "contrast", "equalize", "identity", "posterize", "sharpness", "solarize")


@dataclass(frozen=True)
class Domain:
    """The changes a pool's rows may undergo in a weak and a strong view.

    Args:
        operations: What the strong view draws two of, by name.
        mirror: Whether left and right may be swapped.
        turns: Whether quarter turns and a swap of top and bottom are allowed as well.
        shift: How far a weak view without spare canvas moves the image, as a share of its side.
        reflect: Whether that move uncovers the image's reflection, rather than its outermost pixels repeated.
        area: Least and greatest share of a larger canvas that a weak view shows; None crops without zoom.
        aspect: Greatest stretch of width against height when it zooms.
        reach: Share of the FixMatch paper's magnitudes that is used: 0 changes nothing, 1 is the paper.
        cutout: Greatest side of the square cut out, as a share of the image's side.
        vector: Whether rows are vectors rather than images; only the fields below then matter.
        weak_noise: Standard deviation of the noise of a weak view, in standard deviations of each feature.
        strong_noise: The same for a strong view.
        dropout: Chance of each feature to be zero in a strong view of more than 8 features.
    """

    operations: tuple[str, ...] = field(default=(*_GRAY, "color", *_GEOMETRY))
    hflip: bool = True
    rotations: bool = False
    shift: float = 0.125
    reflect: bool = True
    area: tuple[float, float] | None = (0.5, 1.0)
    aspect: float = 1.2
    magnitude: float = 1.0
    cutout: float = 0.5
    vector: bool = False
    weak_noise: float = 0.02
    strong_noise: float = 0.08
    dropout: float = 0.1


DOMAINS: dict[str, Domain] = {
    "natural": Domain(),
    "gray": Domain(operations=(*_GRAY, *_GEOMETRY)),
    "aerial": Domain(rotations=True),
    "digits": Domain(
        operations=("brightness", "contrast", "identity", "sharpness", *_GEOMETRY),
        hflip=False,
        area=None,
        reflect=False,  # a reflected stroke is a stroke that was not written
        magnitude=0.5,
        cutout=0.25,
    ),
    "vector": Domain(operations=(), hflip=False, vector=True),
}
