"""Losses of all pairs of a batch as users write them, in each of the forms they can have."""

import numbaloss as nl


class Decoupled(nl.KeyedEmbedding):
    """Of positives against a sum."""

    against = "negatives"
    temperature: float = 0.5
    normalize: bool = True
    symmetric: bool = False

    def point(self, similarity, log_sum):
        return log_sum - similarity, -1.0, 1.0


class SquaredPairs(nl.KeyedEmbedding):
    form = "pairs"
    bias: float = 0.25

    def point(self, similarity, positive):
        apart = similarity - positive
        return apart * apart, 2.0 * apart


class SquaredSums(nl.LabelledEmbedding):
    average = "pairs"
    temperature: float = 2.0

    def point(self, similarity, log_sum):
        apart = log_sum - 0.5 * similarity
        return apart * apart, -apart, 2.0 * apart


class LabelledPairs(nl.LabelledEmbedding):
    form = "pairs"
    normalize: bool = True

    def point(self, similarity, positive):
        apart = similarity - positive
        return apart * apart, 2.0 * apart


class SoftTriplet(nl.LabelledEmbedding):
    form = "triplets"
    mining: str = "hard"
    squared: bool = False

    def point(self, positive, negative):
        difference = positive - negative
        slope = nl.sigmoid(difference)
        return nl.softplus(difference), slope, -slope
