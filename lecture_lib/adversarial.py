"""One step of a GAN: the discriminator's, with the generator frozen, and the generator's, with D frozen."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from lecture_lib import objectives
from lecture_lib.networks import GAN, Discriminator, Generator
from lecture_lib.objectives import GANLosses

ADAM = optax.scale_by_adam(b1=0.5, b2=0.99)
"""Adam with a short memory (Radford and others 2016): what is right against one opponent is not for long."""


class State(NamedTuple):
    """Where the game stands. A step replaces some parts and hands the others on, the same arrays."""

    generator: Any
    """Parameters of G."""
    discriminator: Any
    """Parameters of D."""
    averaged: Any
    """Running mean of G's parameters: about the last tenth of its steps, at most a thousand."""
    generator_moments: Any
    """What the optimiser remembers of G's gradients."""
    discriminator_moments: Any
    steps: Any
    """Steps of G so far."""


class Said(NamedTuple):
    """What one step of either player saw, before its update; scalars."""

    loss: Float[Array, ""]
    """Of the player whose step it was, D's with the penalty."""
    real: Float[Array, ""]
    """Mean probability of "real" that D gave to real x; 0 in a step of G, which never meets one. It is the
    sigmoid of D's output: with the least-squares losses, whose output is a score, it orders but is none."""
    fake: Float[Array, ""]
    """The same for generated x."""


@dataclass(frozen=True)
class Game:
    """The rules: what does not change from step to step. It is hashable, so that it can be compiled in."""

    generator: Any
    """The graph of G, without its parameters."""
    discriminator: Any
    """The graph of D."""
    losses: GANLosses
    transform: optax.GradientTransformation
    """An Optax transformation without a learning rate, for both."""

    def model(self, state: State) -> GAN:
        """Both players as they are now."""
        return GAN(self.generator_of(state.generator), self.discriminator_of(state.discriminator))

    def generator_of(self, params: Any) -> Generator:
        """G with these parameters: those of `State.generator` or of `State.averaged`."""
        return nnx.merge(self.generator, _own(params))

    def discriminator_of(self, params: Any) -> Discriminator:
        """D with these parameters."""
        return nnx.merge(self.discriminator, _own(params))

    def discriminator_step(
        self,
        state: State,
        x: Float[Array | np.ndarray, "batch pixels"],
        key: PRNGKeyArray,
        *,
        rate: Any,
        penalty: Any,
    ) -> tuple[State, Said]:
        """D learns to tell x from as many pictures by G. G stays as it is.

        Args:
            state: Where the game stands.
            x: Real pictures.
            key: For z.
            rate: The learning rate.
            penalty: gamma, the weight of `objectives.r1_penalty`; 0 for none.
        """
        generator = self.generator_of(state.generator)
        made = generator(generator.codes(key, len(x)))

        def loss(params: Any) -> tuple[Any, Any]:
            d = self.discriminator_of(params)
            real, fake = d(x), d(made)
            value = self.losses.discriminator(real, fake) + penalty * objectives.r1_penalty(d, x)
            return value, (jax.nn.sigmoid(real).mean(), jax.nn.sigmoid(fake).mean())

        (value, said), gradient = jax.value_and_grad(loss, has_aux=True)(state.discriminator)
        params, moments = self.update(gradient, state.discriminator_moments, state.discriminator, rate)
        return state._replace(discriminator=params, discriminator_moments=moments), Said(value, *said)

    def generator_step(self, state: State, n: int, key: PRNGKeyArray, *, rate: Any) -> tuple[State, Said]:
        """G learns to make n pictures that D takes for real. D stays as it is; no real picture is looked at.

        Args:
            state: Where the game stands.
            n: How many pictures G makes.
            key: For z.
            rate: The learning rate.
        """
        d = self.discriminator_of(state.discriminator)

        def loss(params: Any) -> tuple[Any, Any]:
            generator = self.generator_of(params)
            fake = d(generator(generator.codes(key, n)))
            return self.losses.generator(fake), jax.nn.sigmoid(fake).mean()

        (value, fake), gradient = jax.value_and_grad(loss, has_aux=True)(state.generator)
        params, moments = self.update(gradient, state.generator_moments, state.generator, rate)
        kept = jnp.minimum(0.999, (1 + state.steps) / (10 + state.steps))
        averaged = jax.tree.map(lambda old, new: old + (1 - kept) * (new - old), state.averaged, params)
        state = state._replace(
            generator=params, averaged=averaged, generator_moments=moments, steps=state.steps + 1
        )
        return state, Said(value, jnp.zeros_like(fake), fake)

    def update(self, gradient: Any, moments: Any, params: Any, rate: Any) -> tuple[Any, Any]:
        """The parameters one step down the gradient, and the optimiser's new moments."""
        updates, moments = self.transform.update(gradient, moments, params)
        return optax.apply_updates(params, jax.tree.map(lambda u: -rate * u, updates)), moments


def _own(params: Any) -> Any:
    """The same arrays in variables of their own: a change to one model in place is seen in no other."""
    return jax.tree.map(lambda array: array, params)


def start(
    gan: GAN,
    losses: GANLosses = objectives.NON_SATURATING,
    transform: optax.GradientTransformation = ADAM,
) -> tuple[Game, State]:
    """The rules and the first state of a game between the two players of `gan`.

    Args:
        gan: The players; they are copied.
        losses: What they minimise.
        transform: An Optax transformation without a learning rate. Pass one object each time: a fresh one is
            compiled anew.
    """
    graphs, params = zip(
        *(nnx.split(player, nnx.Param) for player in (gan.generator, gan.discriminator)), strict=True
    )
    params = tuple(_own(these) for these in params)
    moments = [transform.init(these) for these in params]
    game = Game(graphs[0], graphs[1], losses, transform)
    return game, State(params[0], params[1], params[0], moments[0], moments[1], jnp.asarray(0))
