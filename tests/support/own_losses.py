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


# By their values alone.


class Branching(nl.Elementwise):
    """Branches, ties, powers of both kinds, a helper, a constant factor."""

    scale: float = 1.5
    power: float = 1.25

    def value(self, prediction, target):
        residual = (prediction - target) / self.scale
        size = abs(residual)
        if size <= 1.0:
            near = min(residual**2, 2.0 * size) * (1.0 + 0.1 * nl.tanh(residual))
        else:
            near = grown(size, self.power)
        return near + nl.stop_gradient(size) * max(residual, 0.25) + nl.softplus(-residual)


def grown(size, power):
    return 0.5 * nl.pow(size, power) + 0.5 * nl.sqrt(size)


class MellowValue(nl.Softmax):
    """Between cross-entropy and absolute error, of rows."""

    q: float = 0.5
    sparse = True

    def value(self, log_probability, target):
        return -target * nl.expm1(self.q * log_probability) / self.q


class PairsValue(nl.PairEmbedding):
    width: float = 0.5

    def value(self, distance, target):
        return nl.log_cosh((distance - target) / self.width)


class DecoupledValue(nl.KeyedEmbedding):
    against = "negatives"
    temperature: float = 0.5
    normalize: bool = True

    def value(self, similarity, log_sum):
        return nl.softplus(log_sum - similarity) + 0.1 * similarity**2


class SoftTripletValue(nl.LabelledEmbedding):
    form = "triplets"
    mining: str = "hard"

    def value(self, positive, negative):
        return nl.softplus(positive - negative)
