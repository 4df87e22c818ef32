"""The shared JAX package of *Deep Generative Models by Hand*."""

from lecture_lib import hints, quiet

hints.install()
quiet.install()
