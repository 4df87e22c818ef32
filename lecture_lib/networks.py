"""The networks of the lecture as Flax NNX modules: encoder, decoder, auto-encoder, VAE, GAN.

Images enter and leave as flat vectors, shape (batch, pixels). Each module is a plain multi-layer
perceptron, so that a student can read it in a minute.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from lecture_lib import checks, gaussians
from lecture_lib.layers import Activation, Fixed, mlp
from lecture_lib.priors import NORMAL, Prior

Likelihood = Literal["gaussian", "bernoulli"]


class Posterior(NamedTuple):
    """The diagonal Gaussian q(z|x) that an encoder names for each x."""

    mean: Float[Array, "*draws batch latent"]
    """m on the slides."""
    log_var: Float[Array, "*draws batch latent"]
    """Log-variance; sigma on the slides."""


class Encoder(nnx.Module):
    """NN': x -> mean and log-variance of q(z|x) (lecture slide "Auto-encoder -> VAE").

    Args:
        pixels: Length of x.
        latent: Length of z.
        hidden: Widths of the hidden layers.
        activation: Between the layers.
        rngs: Source of the initial weights.
    """

    def __init__(
        self,
        pixels: int,
        latent: int,
        hidden: Sequence[int] = (64,),
        *,
        activation: Activation = nnx.tanh,
        rngs: nnx.Rngs,
    ):
        self.pixels, self.latent = pixels, latent
        self.layers = mlp([pixels, *hidden, 2 * latent], activation, rngs)

    def __call__(self, x: Float[Array, "batch pixels"]) -> Posterior:
        """q(z|x) of each image."""
        checks.floating("x", x)
        checks.last_axis("x", x, self.pixels)
        mean, log_var = jnp.split(self.layers(x), 2, axis=-1)
        return Posterior(mean, log_var)


class GaussianDecoder(nnx.Module):
    """NN: z -> mean and log-variance of p(x|z): mu(z) and sigma(z) of the slide "VAE: infinite mixture".

    Args:
        latent: Length of z.
        dim: Length of x; None for numbers x.
        hidden: Widths of the hidden layers.
        activation: Between the layers.
        log_var: About where the log-variance starts. Below 0, the Gaussians start narrow, and training has
            to use z to reach all x; with wide ones it can get stuck without.
        rngs: Source of the initial weights.
    """

    def __init__(
        self,
        latent: int,
        dim: int | None = None,
        hidden: Sequence[int] = (64,),
        *,
        activation: Activation = nnx.tanh,
        log_var: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if dim is not None:
            checks.whole("dim", dim, low=1)
        checks.finite("log_var", np.float64(log_var))
        self.latent, self.dim = latent, dim
        width = 1 if dim is None else dim
        self.layers = mlp([latent, *hidden, 2 * width], activation, rngs)
        last: Any = self.layers.layers[-1]
        last.bias[...] = last.bias[...].at[width:].set(log_var)

    def __call__(
        self, z: Float[Array, "batch latent"]
    ) -> tuple[Float[Array, "batch *dim"], Float[Array, "batch *dim"]]:
        """(mean, log_var) for each z, of shape (batch,) for numbers x, else (batch, dim)."""
        checks.floating("z", z)
        checks.last_axis("z", z, self.latent)
        mean, log_var = jnp.split(self.layers(z), 2, axis=-1)
        return (mean[..., 0], log_var[..., 0]) if self.dim is None else (mean, log_var)


class Decoder(nnx.Module):
    """NN: z -> what describes x given z: the pixel means (Gaussian) or their logits (Bernoulli).

    Args:
        latent: Length of z.
        pixels: Length of x.
        hidden: Widths of the hidden layers.
        activation: Between the layers.
        steepness: None starts as Flax does, with a smooth function of z. A number s starts the first layer
            with weights and biases from N(0, s^2): bends of width about 1 / s along z, so that neighbouring
            codes need not decode alike. Above 0.
        rngs: Source of the initial weights.
    """

    def __init__(
        self,
        latent: int,
        pixels: int,
        hidden: Sequence[int] = (64,),
        *,
        activation: Activation = nnx.tanh,
        steepness: float | None = None,
        rngs: nnx.Rngs,
    ):
        self.latent, self.pixels = latent, pixels
        self.layers = mlp([latent, *hidden, pixels], activation, rngs)
        if steepness is not None:
            checks.positive("steepness", steepness)
            first: Any = self.layers.layers[0]
            for variable in (first.kernel, first.bias):
                variable[...] = steepness * jax.random.normal(rngs.params(), variable.shape)

    def __call__(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch pixels"]:
        """The picture of each code: pixel means, or logits for a Bernoulli likelihood."""
        checks.floating("z", z)
        checks.last_axis("z", z, self.latent)
        return self.layers(z)


class Autoencoder(nnx.Module):
    """An encoder to a point and a decoder back (lecture slide "Auto-encoder").

    Args:
        pixels: Length of x.
        latent: Length of the code.
        hidden: Widths of the hidden layers of the encoder; the decoder has them in reverse.
        activation: Between the layers.
        steepness: Of the decoder; see `Decoder`.
        rngs: Source of the initial weights.
    """

    def __init__(
        self,
        pixels: int,
        latent: int,
        hidden: Sequence[int] = (64,),
        *,
        activation: Activation = nnx.tanh,
        steepness: float | None = None,
        rngs: nnx.Rngs,
    ):
        self.pixels, self.latent = pixels, latent
        self.encoder = mlp([pixels, *hidden, latent], activation, rngs)
        self.decoder = Decoder(
            latent, pixels, hidden[::-1], activation=activation, steepness=steepness, rngs=rngs
        )

    def encode(self, x: Float[Array, "batch pixels"]) -> Float[Array, "batch latent"]:
        """The code of each image."""
        checks.floating("x", x)
        checks.last_axis("x", x, self.pixels)
        return self.encoder(x)

    def __call__(self, x: Float[Array, "batch pixels"]) -> Float[Array, "batch pixels"]:
        """Each image encoded and decoded."""
        return self.decoder(self.encode(x))


def check_likelihood(likelihood: str) -> None:
    """Raise ValueError unless it is one of `Likelihood`."""
    if likelihood not in ("gaussian", "bernoulli"):
        raise ValueError(f"likelihood is {likelihood!r}; expected 'gaussian' or 'bernoulli'")


def noise_log_var(
    noise_sd: Float[ArrayLike, ""] | Literal["learned"], start: float = 1.0
) -> nnx.Variable[Float[Array, ""]]:
    """The log-variance of a pixel given z, as a variable that is trained or one that is not."""
    if isinstance(noise_sd, str):
        if noise_sd != "learned":
            raise ValueError(f"noise_sd is {noise_sd!r}; expected a number above 0 or 'learned'")
        checks.positive("noise_start", float(start))
        return nnx.Param(2 * jnp.log(jnp.asarray(start, jnp.float32)))
    checks.positive("noise_sd", noise_sd)
    return Fixed(2 * jnp.log(jnp.asarray(noise_sd, jnp.float32)))


class VAE(nnx.Module):
    """A variational auto-encoder: q(z|x) by an encoder, p(x|z) by a decoder, p(z) = N(0, I).

    Args:
        pixels: Length of x.
        latent: Length of z.
        hidden: Widths of the hidden layers of the encoder; the decoder has them in reverse.
        activation: Between the layers.
        likelihood: "gaussian": p(x|z) = N(decoder(z), noise_sd^2 I); "bernoulli": each pixel is 1 with
            probability sigmoid(decoder(z)).
        noise_sd: Gaussian only: the standard deviation of a pixel given z, above 0, in units of
            brightness; "learned" makes it one trained parameter.
        noise_start: Where a learned noise_sd starts, above 0. With grey levels in [0, 1] a start at 1 drowns
            the pictures: as long as the noise is that large, z does not pay, and it is dropped.
        steepness: Of the decoder; see `Decoder`.
        rngs: Source of the initial weights.

    Raises:
        ValueError: An unknown likelihood; a noise_sd that is not above 0.
    """

    def __init__(
        self,
        pixels: int,
        latent: int,
        hidden: Sequence[int] = (64,),
        *,
        activation: Activation = nnx.tanh,
        likelihood: Likelihood = "gaussian",
        noise_sd: Float[ArrayLike, ""] | Literal["learned"] = 1.0,
        noise_start: float = 1.0,
        steepness: float | None = None,
        rngs: nnx.Rngs,
    ):
        check_likelihood(likelihood)
        self.pixels, self.latent, self.likelihood = pixels, latent, likelihood
        self.encoder = Encoder(pixels, latent, hidden, activation=activation, rngs=rngs)
        self.decoder = Decoder(
            latent, pixels, hidden[::-1], activation=activation, steepness=steepness, rngs=rngs
        )
        self.noise_log_var = noise_log_var(noise_sd, noise_start)

    def __call__(self, x: Float[Array, "batch pixels"], *, key: PRNGKeyArray) -> Float[Array, "batch pixels"]:
        """Encode, draw z from q(z|x), decode."""
        return self.decoder(gaussians.reparameterise(key, *self.encoder(x)))

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n pixels"]:
        """Pixel means (Gaussian) or probabilities (Bernoulli) of n draws z ~ N(0, I)."""
        decoded = self.decoder(jax.random.normal(key, (checks.whole("n", n, low=1), self.latent)))
        return nnx.sigmoid(decoded) if self.likelihood == "bernoulli" else decoded


def _leaky_relu(x: Array) -> Array:
    """max(x, 0.2 x): unlike plain ReLU it lets a gradient through everywhere, and G lives on D's gradient."""
    return nnx.leaky_relu(x, 0.2)


class Generator(nnx.Module):
    """G: z ~ P(z) -> x. A VAE's decoder without the rest of the VAE (lecture slide "The evolution").

    Args:
        latent: Length of z.
        pixels: Length of x.
        hidden: Widths of the hidden layers.
        activation: Between the layers.
        squash: After the last layer: the sigmoid keeps pixels in (0, 1); None leaves numbers as they are.
        prior: P(z).
        rngs: Source of the initial weights.
    """

    def __init__(
        self,
        latent: int,
        pixels: int,
        hidden: Sequence[int] = (64,),
        *,
        activation: Activation = _leaky_relu,
        squash: Activation | None = nnx.sigmoid,
        prior: Prior = NORMAL,
        rngs: nnx.Rngs,
    ):
        self.latent, self.pixels, self.squash, self.prior = latent, pixels, squash, prior
        self.decoder = Decoder(latent, pixels, hidden, activation=activation, rngs=rngs)

    def __call__(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch pixels"]:
        """The picture of each z."""
        x = self.decoder(z)
        return x if self.squash is None else self.squash(x)

    def codes(self, key: PRNGKeyArray, n: int) -> Float[Array, "n latent"]:
        """N draws z ~ P(z)."""
        return self.prior.sample(key, n, latent=self.latent)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n pixels"]:
        """Pictures of n draws z ~ P(z)."""
        return self(self.codes(key, n))


class Discriminator(nnx.Module):
    """D: x -> the *logit* of "x is real": its probability is sigmoid(D(x)).

    Args:
        pixels: Length of x.
        hidden: Widths of the hidden layers.
        activation: Between the layers.
        centre, spread: What x is made standard by, (x - centre) / spread, before the first layer.
        rngs: Source of the initial weights.

    Raises:
        ValueError: `centre` is not finite, or `spread` not above 0.
    """

    def __init__(
        self,
        pixels: int,
        hidden: Sequence[int] = (64,),
        *,
        activation: Activation = _leaky_relu,
        centre: float = 0.0,
        spread: float = 1.0,
        rngs: nnx.Rngs,
    ):
        checks.finite("centre", np.float64(centre))
        checks.positive("spread", float(spread))
        self.pixels, self.centre, self.spread = pixels, float(centre), float(spread)
        self.layers = mlp([pixels, *hidden, 1], activation, rngs)

    def __call__(self, x: Float[ArrayLike, "*batch pixels"]) -> Float[Array, "*batch"]:
        """The logit of each picture."""
        checks.floating("x", x)
        checks.last_axis("x", x, self.pixels)
        return self.layers((x - self.centre) / self.spread)[..., 0]


class GAN(nnx.Module):
    """Two players: a generator and a discriminator of what it makes.

    Raises:
        ValueError: The discriminator does not take what the generator makes.
    """

    def __init__(self, generator: Generator, discriminator: Discriminator):
        if generator.pixels != discriminator.pixels:
            raise ValueError(
                f"generator makes x of length {generator.pixels}, discriminator takes "
                f"{discriminator.pixels}; expected the same"
            )
        self.generator, self.discriminator = generator, discriminator
