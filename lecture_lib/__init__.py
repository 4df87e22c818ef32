"""The shared JAX package of *Deep Generative Models by Hand*."""
