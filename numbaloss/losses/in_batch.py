"""Losses of all pairs of vectors in a batch."""

from __future__ import annotations

from typing import ClassVar

from ..registry import register
from ..structures.embedding_batch import KeyedEmbedding, LabelledEmbedding
from ..vmath import sigmoid, softplus


@register
class InfoNCE(KeyedEmbedding):
    r"""InfoNCE: every query finds its key among all keys of the batch.

    .. math:: \ell_i = \log \sum_j e^{s_{ij}} - s_{ii}, \qquad s_{ij} = \frac{q_i \cdot k_j}{T}

    Parameters
    ----------
    temperature : float > 0
        T.
    symmetric : bool
        The mean of the loss of queries among keys and that of keys among queries: the loss of
        CLIP.
    normalize : bool
        Whether vectors are divided by their lengths first, as CLIP and MoCo do. The paper that
        gave the loss its name does not.

    Notes
    -----
    Further keys, beyond those that belong to queries, are negatives: a MoCo queue, or hard
    negatives. Zero vectors stay zero when they are normalised, and get no gradient.

    References
    ----------
    A. van den Oord, Y. Li and O. Vinyals, *Representation learning with contrastive predictive
    coding*, 2018.

    A. Radford et al., *Learning transferable visual models from natural language supervision*
    (CLIP), 2021.

    Examples
    --------
    >>> round(InfoNCE(temperature=1.0)([[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 3.0]]), 6)
    0.313262
    """

    temperature: float = 0.1
    symmetric: bool = False
    normalize: bool = True
    bounds: ClassVar = {"temperature": "(0, inf)"}

    def point(self, similarity, log_sum):
        return log_sum - similarity, -1.0, 1.0


@register
class SigLIP(KeyedEmbedding):
    r"""Sigmoid loss of pairs: each pair of query and key is a term by itself.

    .. math:: \ell_i = -\sum_j \log \sigma(z_{ij} s_{ij}), \qquad
              s_{ij} = \frac{q_i \cdot k_j}{T} + b,

    with :math:`z_{ij} = 1` for :math:`i = j` and -1 otherwise.

    Parameters
    ----------
    temperature : float > 0
        T; what the paper calls t is its inverse, 10 at the start of its training.
    bias : float
        b; -10 at the start of the paper's training, since nearly all pairs are negatives.
    normalize : bool
        Whether vectors are divided by their lengths first, as in the paper.

    Notes
    -----
    The mean divides by the number of queries, not of pairs, as in the paper.

    References
    ----------
    X. Zhai et al., *Sigmoid loss for language image pre-training*, 2023.

    Examples
    --------
    >>> round(SigLIP()([[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 3.0]]), 6)
    0.693193
    """

    aliases = ("sigmoid_loss", "sigmoid_contrastive")
    form = "pairs"
    temperature: float = 0.1
    bias: float = -10.0
    normalize: bool = True
    bounds: ClassVar = {"temperature": "(0, inf)", "bias": "(-inf, inf)"}

    def point(self, similarity, positive):
        sign = 2.0 * positive - 1.0
        against = -sign * similarity
        return softplus(against), -sign * sigmoid(against)


@register
class NTXent(LabelledEmbedding):
    r"""NT-Xent, the loss of SimCLR: each positive pair against the negatives of its anchor.

    .. math:: \ell_{ip} = -\log \frac{e^{s_{ip}}}{e^{s_{ip}} + \sum_{n \in N(i)} e^{s_{in}}},
              \qquad s_{ij} = \frac{\hat z_i \cdot \hat z_j}{T},

    with :math:`N(i)` the rows of other labels.

    Parameters
    ----------
    temperature : float > 0
        T.
    normalize : bool
        Whether vectors are divided by their lengths first, as in the paper.

    Notes
    -----
    The mean is that over all positive pairs. The other positives of an anchor are not in the
    denominator of a pair, as in optax; with two rows a label, the paper's case, there are none.
    Zero vectors stay zero when they are normalised, and get no gradient.

    References
    ----------
    T. Chen et al., *A simple framework for contrastive learning of visual representations*,
    2020.

    Examples
    --------
    >>> views = [[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0], [0.0, -1.0]]
    >>> round(NTXent(0.5)(views, [0, 0, 1, 1]), 6)
    0.356787
    """

    aliases = ("nt_xent", "ntxent", "simclr")
    against = "negatives"
    average = "pairs"
    temperature: float = 0.07
    normalize: bool = True
    bounds: ClassVar = {"temperature": "(0, inf)"}

    def point(self, similarity, log_sum):
        distance = log_sum - similarity
        slope = sigmoid(distance)
        return softplus(distance), -slope, slope


@register
class SupervisedContrastive(LabelledEmbedding):
    r"""Supervised contrastive loss: rows of one label among all other rows.

    .. math:: \ell_i = \frac{1}{|P(i)|} \sum_{p \in P(i)}
              \Bigl(\log \sum_{j \ne i} e^{s_{ij}} - s_{ip}\Bigr), \qquad
              s_{ij} = \frac{\hat z_i \cdot \hat z_j}{T},

    with :math:`P(i)` the other rows of the label of row i.

    Parameters
    ----------
    temperature : float > 0
        T.
    normalize : bool
        Whether vectors are divided by their lengths first, as in the paper.

    Notes
    -----
    The paper's :math:`L_{out}`. The mean is that over rows that have a positive. Its code
    multiplies the loss by T / 0.07, which is left out. Positives compete with each other, so that
    a row without negatives has a loss as well: log of their number at least, where NT-Xent has
    none. Zero vectors stay zero when they are normalised, and get no gradient.

    References
    ----------
    P. Khosla et al., *Supervised contrastive learning*, 2020.

    Examples
    --------
    >>> views = [[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0], [0.0, -1.0]]
    >>> round(SupervisedContrastive(0.5)(views, [0, 0, 1, 1]), 6)
    0.356787
    """

    aliases = ("supcon", "sup_con", "supervised_contrastive_loss")
    temperature: float = 0.07
    normalize: bool = True
    bounds: ClassVar = {"temperature": "(0, inf)"}

    def point(self, similarity, log_sum):
        return log_sum - similarity, -1.0, 1.0


@register
class BatchTriplet(LabelledEmbedding):
    r"""Triplet loss of a batch with labels, which mines its own triplets.

    .. math:: \ell = \max\bigl(0,\ d(a, p) - d(a, n) + m\bigr)

    with the Euclidean distance d, for every row as the anchor a.

    Parameters
    ----------
    margin : float >= 0
        m.
    mining : {"hard", "semi-hard", "all"}
        ``"hard"``: an anchor's farthest positive and its nearest negative (Hermans 2017's
        batch-hard); a term is an anchor. ``"semi-hard"``: each positive with the nearest
        negative that is farther away than it, or, where there is none, the farthest negative
        (FaceNet's, as TensorFlow writes it); a term is a positive pair. ``"all"``: every
        triplet (Hermans's batch-all); a term is a triplet.
    squared : bool
        Whether distances are squared, as in FaceNet.
    normalize : bool
        Whether vectors are divided by their lengths first, as in FaceNet.

    Notes
    -----
    The mean is that over terms, active or not: sentence-transformers and Hermans's
    "non-zero" variant divide ``"all"`` by those that are active, the number of which
    :meth:`diagnose` tells. An anchor that no other row has the label of, or every other, is no
    term: others take the distance of what is missing for 0 (sentence-transformers'
    ``BatchHardTripletLoss``, a positive) and divide by all rows. Nothing is added to distances or
    differences, whose gradient at 0 is 0 (PyTorch's ``triplet_margin_loss`` adds 1e-6). Distances
    beyond the largest number are infinite, and in no order.

    ``"all"`` takes :math:`n^2 \log n` steps, not n³, and sums hinges only: a subclass with a map
    of its own mines hard or semi-hard triplets. Candidates are found by distances from a matrix
    product: squared distances that differ by less than the rounding of the squared lengths, seen
    from the mean, count as equal, and one outlier makes all lengths long. The distances of hard
    triplets are then computed anew.

    References
    ----------
    F. Schroff, D. Kalenichenko and J. Philbin, *FaceNet: a unified embedding for face
    recognition and clustering*, 2015.

    A. Hermans, L. Beyer and B. Leibe, *In defense of the triplet loss for person
    re-identification*, 2017.

    Examples
    --------
    >>> rows = [[0.0, 0.0], [3.0, 4.0], [0.0, 5.0], [3.0, 9.0]]
    >>> BatchTriplet(margin=2.0)(rows, [0, 0, 1, 1], reduction="none").round(6).tolist()
    [2.0, 3.837722, 3.837722, 2.0]
    """

    aliases = ("batch_hard_triplet", "triplet_hard")
    form = "triplets"
    hinge = True
    margin: float = 1.0
    mining: str = "hard"
    squared: bool = False
    normalize: bool = False
    bounds: ClassVar = {"margin": "[0, inf)"}

    def point(self, positive, negative):
        over = positive - negative + self.margin
        slope = 1.0 if over > 0.0 else 0.0
        return max(0.0, over), slope, -slope
