"""The shared JAX package of *Deep Generative Models by Hand*."""

from lecture_lib import compile_cache, hints, quiet

hints.install()
quiet.install()
compile_cache.keep()
