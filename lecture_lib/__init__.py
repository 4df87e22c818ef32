"""The shared JAX package of *Deep Generative Models by Hand*."""

from lecture_lib import compile_cache

compile_cache.keep()
