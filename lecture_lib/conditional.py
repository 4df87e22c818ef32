"""Networks that are told the label: encoder, decoder and VAE given the class (slide "Conditional VAE")."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from lecture_lib import checks
from lecture_lib.layers import Activation, FiLM, mlp, one_hot
from lecture_lib.networks import Likelihood, Posterior, check_likelihood, noise_log_var


def _check_labels(labels: Any, name: str, value: Any) -> None:
    """Raise ValueError unless there is one label for each x or z: a single one is not broadcast."""
    if np.shape(labels) != np.shape(value)[:-1]:
        raise ValueError(
            f"labels has shape {np.shape(labels)}; expected {np.shape(value)[:-1]}, one for each {name}"
        )


class ConditionalEncoder(nnx.Module):
    """NN': (x, label) -> mean and log-variance of q(z|x, y); the label stands beside x as a one-hot vector.

    Args:
        pixels: Length of x.
        latent: Length of z.
        hidden: Widths of the hidden layers.
        classes: Number of classes; labels are 0 to classes - 1.
        activation: Between the layers.
        rngs: Source of the initial weights.
    """

    def __init__(
        self,
        pixels: int,
        latent: int,
        hidden: Sequence[int] = (64,),
        *,
        classes: int = 10,
        activation: Activation = nnx.gelu,
        rngs: nnx.Rngs,
    ):
        self.pixels, self.latent, self.classes = pixels, latent, checks.whole("classes", classes, low=1)
        self.layers = mlp([pixels + classes, *hidden, 2 * latent], activation, rngs)

    def __call__(self, x: Float[Array, "batch pixels"], labels: Int[Array, " batch"]) -> Posterior:
        """q(z|x, y) of each image: its style."""
        checks.floating("x", x)
        checks.last_axis("x", x, self.pixels)
        _check_labels(labels, "x", x)
        told = jnp.concatenate([x, one_hot(labels, self.classes)], axis=-1)
        mean, log_var = jnp.split(self.layers(told), 2, axis=-1)
        return Posterior(mean, log_var)


class ConditionalDecoder(nnx.Module):
    """NN: (z, label) -> what describes x: the style comes from z, the class from the label.

    Args:
        latent: Length of z.
        pixels: Length of x.
        hidden: Widths of the hidden layers.
        classes: Number of classes; labels are 0 to classes - 1.
        condition: How the label comes in. "film": it scales and shifts every layer, see `FiLM`; "concat": it
            is put beside z as a one-hot vector, once, at the input.
        activation: Between the layers.
        rngs: Source of the initial weights.
    """

    def __init__(
        self,
        latent: int,
        pixels: int,
        hidden: Sequence[int] = (64,),
        *,
        classes: int = 10,
        condition: Literal["film", "concat"] = "film",
        activation: Activation = nnx.gelu,
        rngs: nnx.Rngs,
    ):
        if condition not in ("film", "concat"):
            raise ValueError(f"condition is {condition!r}; expected 'film' or 'concat'")
        self.latent, self.pixels, self.classes = latent, pixels, checks.whole("classes", classes, low=1)
        self.condition, self.activation = condition, activation
        self.layers: Any
        if condition == "film":
            sizes = pairwise([latent, *hidden, pixels])
            self.layers = nnx.List([FiLM(m, n, classes, rngs=rngs) for m, n in sizes])
        else:
            self.layers = mlp([latent + classes, *hidden, pixels], activation, rngs)

    def __call__(
        self, z: Float[Array, "batch latent"], labels: Int[Array, " batch"]
    ) -> Float[Array, "batch pixels"]:
        """The picture of each style z in each class: pixel means, or logits for a Bernoulli likelihood."""
        checks.floating("z", z)
        checks.last_axis("z", z, self.latent)
        _check_labels(labels, "z", z)
        y = one_hot(labels, self.classes)
        if self.condition == "concat":
            return self.layers(jnp.concatenate([z, y], axis=-1))
        h = self.layers[0](z, y)
        for layer in self.layers[1:]:
            h = layer(self.activation(h), y)
        return h


class ConditionalVAE(nnx.Module):
    """A VAE that is told the label: q(z|x, y), p(x|z, y), p(z) = N(0, I) (lecture slide "Conditional VAE").

    What the label says need not stand in z; what is left for z is the style.

    Args:
        pixels: Length of x.
        latent: Length of z.
        hidden: Widths of the hidden layers of the encoder; the decoder has them in reverse.
        classes: Number of classes.
        condition: How the label enters the decoder; see `ConditionalDecoder`. Into the encoder it always goes
            as a one-hot vector beside x.
        activation: Between the layers.
        likelihood, noise_sd, noise_start: As for `VAE`.
        rngs: Source of the initial weights.
    """

    def __init__(
        self,
        pixels: int,
        latent: int,
        hidden: Sequence[int] = (64,),
        *,
        classes: int = 10,
        condition: Literal["film", "concat"] = "film",
        activation: Activation = nnx.gelu,
        likelihood: Likelihood = "gaussian",
        noise_sd: Float[ArrayLike, ""] | Literal["learned"] = 1.0,
        noise_start: float = 1.0,
        rngs: nnx.Rngs,
    ):
        check_likelihood(likelihood)
        self.pixels, self.latent, self.classes, self.likelihood = pixels, latent, classes, likelihood
        self.encoder = ConditionalEncoder(
            pixels, latent, hidden, classes=classes, activation=activation, rngs=rngs
        )
        self.decoder = ConditionalDecoder(
            latent,
            pixels,
            hidden[::-1],
            classes=classes,
            condition=condition,
            activation=activation,
            rngs=rngs,
        )
        self.noise_log_var = noise_log_var(noise_sd, noise_start)

    def write(
        self, z: Float[Array, "batch latent"], labels: Int[Array, " batch"]
    ) -> Float[Array, "batch pixels"]:
        """Pixel means (Gaussian) or probabilities (Bernoulli) of each style z in each class."""
        decoded = self.decoder(z, labels)
        return nnx.sigmoid(decoded) if self.likelihood == "bernoulli" else decoded

    def all_classes(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch classes pixels"]:
        """Every class in each style z."""
        n = len(z)
        labels = jnp.tile(jnp.arange(self.classes), n)
        return self.write(jnp.repeat(z, self.classes, axis=0), labels).reshape(n, self.classes, self.pixels)
