"""Closed-form derivative products of shallow ReLU networks on a fixed batch."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .shallow_relu import ShallowReLU


class _Directions(NamedTuple):
    """A block of s flat vectors, split like the parameters; dead neurons are left out."""

    w: Float[Tensor, "s e m"]  # of (w, b) together, e = d + 1
    v: Float[Tensor, "s k m"]
    output_bias: Float[Tensor, "s k"]
    skip: Float[Tensor, "s k d"] | None


class OutputWeights:
    """The Hessian S of a mean loss in the outputs, block diagonal over samples: scale · (diag(q_i) − p_i p_iᵀ).

    Args:
        scale: Usually 1/n.
        q: [n, k]; ones for the squared loss.
        p: [n, k], or None for zero; the softmax has q = p.
    """

    def __init__(self, scale: float, q: Float[Tensor, "n k"], p: Float[Tensor, "n k"] | None = None) -> None:
        self.scale = scale
        self.q = q.T.contiguous()
        self.p = None if p is None else p.T.contiguous()

    def at(self, rows: slice) -> "OutputWeights":
        """The part of some samples."""
        return OutputWeights(self.scale, self.q.T[rows], None if self.p is None else self.p.T[rows])

    def apply(self, u: Float[Tensor, "s k n"]) -> Float[Tensor, "s k n"]:
        """S u."""
        weighed = self.q * u
        if self.p is not None:
            weighed -= self.p * (self.p * u).sum(dim=1, keepdim=True)
        return weighed.mul_(self.scale)

    def quadratic(self, v: Float[Tensor, "k m"]) -> Float[Tensor, "n m"]:
        """v_jᵀ S_i v_j for every sample i and column v_j."""
        weighed = self.q.T @ v.square()
        if self.p is not None:
            weighed -= (self.p.T @ v).square()
        return weighed.mul_(self.scale)

    def conjugate(self, gram: Float[Tensor, "nk nk"]) -> Float[Tensor, "nk nk"]:
        """Bᵀ M B with S = B Bᵀ, for M in the order of `ShallowProducts.gram`; B_i = diag(√q_i) − p_i √p_iᵀ."""
        k, n = self.q.shape
        for _ in range(2):
            rows = gram.reshape(n, k, -1)
            weighed = self.q.T[..., None].sqrt() * rows
            if self.p is not None:
                p = self.p.T[..., None]
                weighed = weighed - p.sqrt() * (p * rows).sum(dim=1, keepdim=True)
            gram = weighed.reshape(n * k, -1).T
        return self.scale * gram

    def diagonal(self) -> Float[Tensor, "k n"]:
        """The diagonal of each S_i."""
        return self.scale * (self.q if self.p is None else self.q - self.p.square())


_CACHED = 2**17  # entries of a block that stays in a core's cache


def _blocks(n: int, width: int) -> Iterator[slice]:
    """Ranges of samples whose rows of that width stay in the cache together."""
    step = max(_CACHED // width, 16)
    return (slice(start, start + step) for start in range(0, n, step))


class ShallowProducts:
    """Jacobian products J δ, Jᵀ u and second-derivative products of a `ShallowReLU` at its present weights on x.

    With the mask D [n, m], x̃ = (x, −1) and w̃ = (w, b), the network is f_a(x_i) = Σ_j v_aj D_ij w̃_jᵀx̃_i + …, so that
    (J δ)_ia = Σ_e x̃_ie Σ_j D_ij (v_aj δw̃_je + δv_aj w̃_je) + δβ_a + δC_a x_i, and Jᵀu needs only Dᵀ(u_a x̃). For one
    output each of the two is one product of the mask with (d + 1) columns per vector, without an n × m temporary. For
    many outputs the same sums are ordered through n × m arrays, which is then cheaper. ∇²f_a is zero except for the
    pairs (w̃_j, v_aj), where it is D_ij x̃_i (almost everywhere: off the hyperplanes w̃ᵀx̃ = 0).

    Neurons that are inactive on every sample have zero rows in all of these and are dropped from the products.
    The weights are copied: training the network on does not change the products.

    Args:
        network: The network.
        x: Inputs [n, d] of its dtype.

    Flat vectors are in the order of `named_parameters()`: w, b, v, output_bias, skip. Memory: n·m for the mask (twice
    that for many outputs). The derivations are our own, checked against autograd.
    """

    def __init__(self, network: ShallowReLU, x: Float[Tensor, "n d"]) -> None:
        with torch.no_grad():
            self.m, self.d, self.k = network.width, network.inputs, network.outputs
            self.has_skip = network.skip is not None
            self.size = self.m * (self.d + 1 + self.k) + self.k + (self.k * self.d if self.has_skip else 0)
            active, self.outputs, alive = self._activate(network, x)
            self.live = alive.nonzero()[:, 0]
            self.all_live = len(self.live) == self.m
            self.active = active if self.all_live else active[:, self.live]
            self.x = x
            self.x1 = torch.cat([x, -torch.ones_like(x[:, :1])], dim=1).T.contiguous()
            self.w1 = torch.cat([network.w, network.b[:, None]], dim=1)[self.live].T.contiguous()
            self.v = network.v[:, self.live].clone()
            # Columns through the mask per vector: k(d + 1) thin, against d + 1 + 2k and two n × m passes wide.
            self.wide = (self.k - 1) * (self.d + 1) > 2 * self.k + 32
            self.hidden = self._hidden_of(slice(None)) if self.wide else None

    @cached_property
    def mask(self) -> Float[Tensor, "n e"]:
        """The mask D as numbers, of the live neurons; made for the first product."""
        return self.active.to(self.x.dtype)

    @staticmethod
    def _activate(network: ShallowReLU, x: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Mask, outputs, and which neurons are ever active; by blocks of samples that stay in the cache."""
        mask = torch.empty(len(x), network.width, dtype=torch.bool, device=x.device)
        outputs = x.new_empty(len(x), network.outputs)
        alive = torch.zeros(network.width, dtype=torch.bool, device=x.device)
        for rows in _blocks(len(x), network.width):
            z = network.preactivations(x[rows])
            torch.gt(z, 0, out=mask[rows])
            alive |= mask[rows].any(dim=0)
            outputs[rows] = torch.addmm(network.output_bias, z.relu_(), network.v.T)
        if network.skip is not None:
            outputs += x @ network.skip.T
        return mask, outputs, alive

    def jvp(self, block: Float[Tensor, "p s"]) -> Float[Tensor, "n k s"]:
        """J δ for each column δ. Cost 2·n·m·k(d + 1) flops per column, or about 2·n·m·(d + 1 + 2k) for many outputs."""
        return self._jvp(self._split(block)).permute(2, 1, 0)

    def vjp(self, u: Float[Tensor, "n k s"]) -> Float[Tensor, "p s"]:
        """Jᵀ u for each column u [n, k]. Cost as `jvp`."""
        return self._join(self._vjp(u.permute(2, 1, 0).contiguous()))

    def residual_matrix(self, r: Float[Tensor, "n k"]) -> Float[Tensor, "k e m"]:
        """Dᵀ(r_a x̃) for each output a: the nonzero block of Σ_ia r_ia ∇²f_a(x_i), between v_aj and w̃_j."""
        return self._pull(r.T.contiguous()[None])[0]

    def second_order(
        self, block: Float[Tensor, "p s"], weigh: OutputWeights, residual: Float[Tensor, "k e m"] | None = None
    ) -> Float[Tensor, "p s"]:
        """(Jᵀ S J + E) δ for each column δ, with S the Hessian of the loss in the outputs.

        Without `residual` this is the Gauss–Newton product. E, the residual part of the Hessian, is given by its
        `residual_matrix` and costs O(k·m·(d + 1)) per column, no pass over data.
        """
        along = self._split(block)
        image = self._vjp(weigh.apply(self._jvp(along)))
        if residual is not None:
            w = image.w + (residual * along.v[:, :, None]).sum(dim=1)
            v = image.v + (residual * along.w[:, None]).sum(dim=2)
            image = image._replace(w=w, v=v)
        return self._join(image)

    def diagonal(self, weigh: OutputWeights) -> Float[Tensor, " p"]:
        """The exact diagonal of Jᵀ S J, which is that of the Hessian too: E has a zero diagonal.

        Cost: about one product; where samples couple the outputs (softmax), through n × m arrays.
        """
        s_diagonal = weigh.diagonal()
        squares = (s_diagonal[:, None] * self.x1.square()).flatten(0, 1)
        pulled, v = squares.new_zeros(len(squares), len(self.live)), torch.zeros_like(self.v)
        for rows in _blocks(len(self.x), max(len(self.live), 1)):
            v += s_diagonal[:, rows] @ self._hidden_of(rows).square_()
            if weigh.p is None:
                pulled += squares[:, rows] @ self.active[rows].to(self.x.dtype)
        if weigh.p is None:
            w = (pulled.view(self.k, self.d + 1, len(self.live)) * self.v.square()[:, None]).sum(dim=0)
        else:
            w = self.x1.square() @ (self.mask * weigh.quadratic(self.v))
        skip = (s_diagonal @ self.x.square())[None] if self.has_skip else None
        return self._join(_Directions(w[None], v[None], s_diagonal.sum(dim=1)[None], skip))[:, 0]

    def gram(self) -> Float[Tensor, "nk nk"]:
        """J Jᵀ, rows ordered sample first and output second. Cost O(n²(m + d)k²); memory (nk)²."""
        hidden = self._hidden()
        same = hidden @ hidden.T + 1 + (self.x @ self.x.T if self.has_skip else 0)
        inputs = self.x1.T @ self.x1
        n, k = len(self.x), self.k
        gram = same.new_empty(n, k, n, k)
        for a in range(k):
            for b in range(k):
                gram[:, a, :, b] = inputs * ((self.mask * (self.v[a] * self.v[b])) @ self.mask.T)
            gram[:, a, :, a] += same
        return gram.reshape(n * k, n * k)

    def _hidden(self) -> Float[Tensor, "n m"]:
        return self._hidden_of(slice(None)) if self.hidden is None else self.hidden

    def _hidden_of(self, rows: slice) -> Float[Tensor, "b m"]:
        """φ of the preactivations of some samples, a new array."""
        return (self.x1[:, rows].T @ self.w1).relu_()

    def _split(self, block: Float[Tensor, "p s"]) -> _Directions:
        m, d, k, s = self.m, self.d, self.k, block.shape[1]
        w, b, v, output_bias, skip = block.T.split([m * d, m, k * m, k, self.size - m * (d + 1 + k) - k], dim=1)
        w = torch.cat([w.reshape(s, m, d).transpose(1, 2), b.reshape(s, 1, m)], dim=1)
        v = v.reshape(s, k, m)
        if not self.all_live:
            w, v = w[..., self.live], v[..., self.live]
        return _Directions(w, v, output_bias, skip.reshape(s, k, d) if self.has_skip else None)

    def _join(self, directions: _Directions) -> Float[Tensor, "p s"]:
        w, v, output_bias, skip = directions
        s = output_bias.shape[0]
        if not self.all_live:
            w = w.new_zeros(s, self.d + 1, self.m).index_copy_(2, self.live, w)
            v = v.new_zeros(s, self.k, self.m).index_copy_(2, self.live, v)
        parts = [w[:, :-1].transpose(1, 2).flatten(1), w[:, -1], v.flatten(1), output_bias]
        if skip is not None:
            parts.append(skip.flatten(1))
        return torch.cat(parts, dim=1).T

    # The thin factor comes first in every product with the mask: MKL then runs up to three times faster.

    def _jvp(self, along: _Directions) -> Float[Tensor, "s k n"]:
        if self.wide:
            moved = torch.stack([self._jvp_wide(w, v) for w, v in zip(along.w, along.v, strict=True)])
        else:
            columns = self.v[:, None] * along.w[:, None] + along.v[:, :, None] * self.w1
            image = (columns.flatten(0, 2) @ self.mask.T).reshape(*columns.shape[:3], len(self.x))
            moved = (image.mul_(self.x1)).sum(dim=2)
        moved += along.output_bias[..., None]
        return moved if along.skip is None else moved + along.skip @ self.x.T

    def _vjp(self, u: Float[Tensor, "s k n"]) -> _Directions:
        if self.wide:
            w, v = (torch.stack(part) for part in zip(*(self._vjp_wide(row) for row in u), strict=True))
        else:
            pulled = self._pull(u)
            w = (pulled * self.v[:, None]).sum(dim=1)
            v = pulled.mul_(self.w1).sum(dim=2)
        return _Directions(w, v, u.sum(dim=2), u @ self.x if self.has_skip else None)

    def _pull(self, u: Float[Tensor, "s k n"]) -> Float[Tensor, "s k e m"]:
        """Dᵀ(u_a x̃), all that a pullback needs."""
        columns = u[:, :, None] * self.x1
        return (columns.flatten(0, 2) @ self.mask).reshape(*columns.shape[:3], len(self.live))

    def _jvp_wide(self, w: Float[Tensor, "e m"], v: Float[Tensor, "k m"]) -> Float[Tensor, "k n"]:
        moved = (self.x1.T @ w).mul_(self.mask)
        return torch.addmm(self.v @ moved.T, v, self._hidden().T)

    def _vjp_wide(self, u: Float[Tensor, "k n"]) -> tuple[Float[Tensor, "e m"], Float[Tensor, "k m"]]:
        return self.x1 @ (u.T @ self.v).mul_(self.mask), u @ self._hidden()
