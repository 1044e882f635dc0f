"""Values of losses of vectors: of a distance, a cosine, two distances, a similarity."""

from __future__ import annotations

import numbaloss as nl
from numbaloss.losses import embeddings

from .making import gives


@gives(nl.Contrastive)
def contrastive(self, distance, target):
    return target * distance**2 + (1.0 - target) * max(0.0, self.margin - distance) ** 2


@gives(nl.CosineEmbedding)
def cosine_embedding(self, cosine, target):
    return target * (1.0 - cosine) + (1.0 - target) * max(0.0, cosine - self.margin)


@gives(embeddings._EuclideanTriplet)
def euclidean_triplet(self, positive, negative):
    return max(0.0, positive - negative + self.margin)


@gives(nl.InfoNCE)
def info_nce(self, similarity, log_sum):
    return log_sum - similarity


@gives(nl.SigLIP)
def siglip(self, similarity, positive):
    return nl.softplus((1.0 - 2.0 * positive) * similarity)


@gives(nl.NTXent)
def nt_xent(self, similarity, log_sum):
    return nl.softplus(log_sum - similarity)


@gives(nl.SupervisedContrastive)
def supervised_contrastive(self, similarity, log_sum):
    return log_sum - similarity


@gives(nl.BatchTriplet)
def batch_triplet(self, positive, negative):
    return max(0.0, positive - negative + self.margin)
