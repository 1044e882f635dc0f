"""Losses of vectors that belong together, row by row."""

from __future__ import annotations

from typing import Any, ClassVar

from ..core.recoding import HARD
from ..registry import register
from ..structures.embedding_rows import PairEmbedding, TripletEmbedding
from ..vmath import pow


@register
class Contrastive(PairEmbedding):
    r"""Contrastive loss: like vectors attract each other, others repel up to a margin.

    .. math:: \ell = t\, d^2 + (1 - t) \max(0,\ m - d)^2, \qquad d = \lVert a - b \rVert_2

    Parameters
    ----------
    margin : float > 0
        m, the distance at which vectors that differ leave each other alone.
    targets : {"binary", "signed"}
        Whether targets are 0 and 1 or −1 and 1.

    Notes
    -----
    The target is 1 for vectors that are alike and 0 for others, as in most libraries; the paper
    has it the other way round. Its factor ½ is left out (sentence-transformers has it, with a
    margin of 0.5). The gradient at :math:`d = 0` is 0, also for vectors that should differ.

    References
    ----------
    R. Hadsell, S. Chopra and Y. LeCun, *Dimensionality reduction by learning an invariant
    mapping*, 2006.

    Examples
    --------
    >>> Contrastive()([[0.0, 0.0], [0.0, 0.0]], [[3.0, 4.0], [0.3, 0.4]], [1, 0])
    12.625
    """

    aliases = ("contrastive_loss",)
    margin: float = 1.0
    targets: str = "binary"
    bounds: ClassVar = {"margin": "(0, inf)"}
    spans: ClassVar = {"margin": (0, 2)}

    @property
    def target_domain(self) -> str:  # type: ignore[override]
        """The two numbers that targets are."""
        return HARD[self.targets]

    def point(self, distance, target):
        short = max(0.0, self.margin - distance)
        value = target * distance * distance + (1.0 - target) * short * short
        return value, 2.0 * (target * distance - (1.0 - target) * short)


@register
class CosineEmbedding(PairEmbedding):
    r"""Cosine loss: like vectors turn to each other, others away up to a margin.

    .. math:: \ell = t\, (1 - c) + (1 - t) \max(0,\ c - m), \qquad
              c = \frac{a \cdot b}{\lVert a \rVert \lVert b \rVert}

    Parameters
    ----------
    margin : float in [-1, 1]
        m, the cosine up to which vectors that differ leave each other alone.
    targets : {"binary", "signed"}
        Whether targets are 0 and 1 or −1 and 1, as in PyTorch.

    Notes
    -----
    The target is 1 for vectors that are alike and 0 for others; PyTorch writes 1 and -1, which
    ``targets="signed"`` takes, and adds 1e-12 to squared lengths. A zero vector has no
    direction: its cosine with any other is 0, and neither of the two gets a gradient.

    Examples
    --------
    >>> CosineEmbedding()([[1.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [3.0, 4.0]], [1, 0])
    0.8
    """

    aliases = ("cosine_embedding_loss", "cosine")
    metric = "cosine"
    margin: float = 0.0
    targets: str = "binary"
    bounds: ClassVar = {"margin": "[-1, 1]"}

    @property
    def target_domain(self) -> str:  # type: ignore[override]
        """The two numbers that targets are."""
        return HARD[self.targets]

    def point(self, cosine, target):
        over = cosine - self.margin
        value = target * (1.0 - cosine) + (1.0 - target) * max(0.0, over)
        return value, (1.0 - target) * (1.0 if over > 0.0 else 0.0) - target


@register
class Triplet(TripletEmbedding):
    r"""Triplet loss: an anchor nearer to its positive than to its negative, by a margin.

    .. math:: \ell = \max\bigl(0,\ d(a, p) - d(a, n) + m\bigr), \qquad
              d(a, b) = \lVert a - b \rVert_p

    Parameters
    ----------
    margin : float >= 0
        m.
    p : float in [1, 1000]
        Which norm; 2 is the Euclidean. Powers beyond leave the range of all numbers but those
        near 1.
    swap : bool
        Whether the negative is compared with whichever is nearer to it, anchor or positive
        (Balntas 2016).
    squared : bool
        Whether distances are squared, as in FaceNet; of the Euclidean norm alone.

    Notes
    -----
    The gradient of a distance of 0 is 0. PyTorch adds 1e-6 to every difference of two elements,
    which moves its distances by up to 1e-6 times the root of their number; here nothing is
    added. ``Triplet()(anchor + 1e-6, positive, negative)`` has PyTorch's numbers (without
    ``swap``). Other norms than 1 and 2 take a power an element, and are slower.

    References
    ----------
    F. Schroff, D. Kalenichenko and J. Philbin, *FaceNet: a unified embedding for face
    recognition and clustering*, 2015.

    V. Balntas et al., *Learning local feature descriptors with triplets and shallow
    convolutional neural networks*, 2016.

    Examples
    --------
    >>> Triplet()([[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 5.5]])
    0.5
    """

    aliases = ("triplet_loss", "triplet_margin")
    margin: float = 1.0
    p: float = 2.0
    swap: bool = False
    squared: bool = False
    bounds: ClassVar = {"margin": "[0, inf)", "p": "[1, 1000]"}

    def validate(self) -> None:
        if self.squared and self.p != 2.0:
            raise ValueError(f"squared distances are Euclidean: p must be 2, not {self.p}")

    def lower(self) -> TripletEmbedding:
        if self.squared:
            return _SquaredTriplet(self.margin, self.swap)
        special: Any = {1.0: _ManhattanTriplet, 2.0: _EuclideanTriplet}.get(self.p)
        return self if special is None else special(self.margin, self.swap)

    def point(self, positive, negative):
        over = positive - negative + self.margin
        slope = 1.0 if over > 0.0 else 0.0
        return max(0.0, over), slope, -slope

    def term(self, difference):
        size = abs(difference)
        slope = pow(size, self.p - 1.0)
        return size * slope, self.p * (slope if difference > 0.0 else -slope)

    def root(self, total):
        if self.squared:
            return total, 1.0 if total >= 0.0 else total
        distance = pow(total, 1.0 / self.p)
        return distance, distance / (self.p * total) if total > 0.0 else 0.0


class _EuclideanTriplet(TripletEmbedding):
    margin: float = 1.0
    swap: bool = False

    point = Triplet.point


class _SquaredTriplet(_EuclideanTriplet):
    def root(self, total):
        return total, 1.0


class _ManhattanTriplet(_EuclideanTriplet):
    def term(self, difference):
        slope = (1.0 if difference > 0.0 else 0.0) - (1.0 if difference < 0.0 else 0.0)
        return abs(difference), slope

    def root(self, total):
        return total, 1.0
