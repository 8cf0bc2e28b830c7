"""Closed-form derivative products of networks of patches on a fixed batch."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .patch_relu import PatchReLU
from .shallow_products import OutputWeights

_BLOCK = 2**18  # entries of one block of patches × neurons
_KEPT = 2**28  # entries of all masks, one byte each, that are kept rather than made anew for every product


class _Directions(NamedTuple):
    """A block of s flat vectors, split like the parameters; g is 1, or l where positions have their own weights."""

    w: Float[Tensor, "s g e m"]  # of (w, b) together, e = patch size + 1
    v: Float[Tensor, "s k m"]
    output_bias: Float[Tensor, "s k"]


class PatchProducts:
    """Jacobian products J δ, Jᵀ u and second-derivative products of a `PatchReLU` at its present weights on x.

    As in `ShallowProducts`, with x̃_ij = (x_i[P_j], −1), the mask D and a mean over the l positions:

        (J δ)_ia = (1/l) Σ_j Σ_e x̃_ije Σ_k D_ijk (v_ak δw̃_ke + δv_ak w̃_ke) + δβ_a,

    and Jᵀu needs only (1/l) Σ_j Dᵀ(u_a x̃). Both go block by block, so that nothing of the size n·l·m is ever held but
    one byte of mask each, and not even that if there are more than 2²⁸ of them. ∇²f_a is zero except for the pairs
    (w̃_jk, v_ak), where it is D_ijk x̃_ij / l (almost everywhere).

    Args:
        network: The network; its weights are copied.
        x: Inputs [n, d] of its dtype.

    Flat vectors are in the order of `named_parameters()`: w, b, v, output_bias. The derivations are our own, checked
    against autograd.
    """

    def __init__(self, network: PatchReLU, x: Float[Tensor, "n d"]) -> None:
        with torch.no_grad():
            self.m, self.k, self.e = network.width, network.outputs, network.patch_size + 1
            self.positions = network.positions
            self.groups = 1 if network.shared else network.positions
            self.size = sum(p.numel() for p in network.parameters())
            self.x, self.patches = x, network.patches.clone()
            w, b = network.w.view(self.groups, self.m, -1), network.b.view(self.groups, self.m, 1)
            self.w1 = torch.cat([w, b], dim=2).transpose(1, 2).contiguous()
            self.v = network.v.detach().clone()
            step = max(_BLOCK // (self.positions * self.m), 1)
            self.blocks = [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]
            kept = len(x) * self.positions * self.m <= _KEPT
            self._masks: list[Tensor] = []
            outputs = []
            for rows in self.blocks:
                z = torch.bmm(self._inputs(rows), self.w1)
                if kept:
                    self._masks.append(z > 0)
                outputs.append(self._pooled(z.relu_() @ self.v.T))
            self.outputs = torch.cat(outputs) + network.output_bias

    def jvp(self, block: Float[Tensor, "p s"]) -> Float[Tensor, "n k s"]:
        """J δ for each column δ. Cost 2·n·l·m·k·e flops per column, with e = patch size + 1."""
        along = self._split(block)
        columns = self._columns(along)
        moved = [self._push(columns, x, mask) for _, x, mask in self._tiles()]
        return (torch.cat(moved, dim=2) + along.output_bias[..., None]).permute(2, 1, 0)

    def vjp(self, u: Float[Tensor, "n k s"]) -> Float[Tensor, "p s"]:
        """Jᵀ u for each column u [n, k]. Cost as `jvp`."""
        u = u.permute(2, 1, 0)
        return self._join(self._from_pulled(self._pull(u), u.sum(dim=2)))

    def residual_matrix(self, r: Float[Tensor, "n k"]) -> Float[Tensor, "k ge m"]:
        """The nonzero block of Σ_ia r_ia ∇²f_a(x_i), between v_ak and w̃_k; positions of their own below one another."""
        pulled = self._pull(r.T[None])[:, 0]
        return pulled.transpose(0, 1).reshape(self.k, self.groups * self.e, self.m)

    def second_order(
        self,
        block: Float[Tensor, "p s"],
        weigh: OutputWeights,
        residual: Float[Tensor, "k ge m"] | None = None,
    ) -> Float[Tensor, "p s"]:
        """(Jᵀ S J + E) δ for each column δ, as `ShallowProducts.second_order`; one pass over the data."""
        along = self._split(block)
        columns = self._columns(along)
        pulled = torch.zeros_like(columns)
        total = torch.zeros_like(along.output_bias)
        for rows, x, mask in self._tiles():
            u = self._push(columns, x, mask) + along.output_bias[..., None]
            u = weigh.at(rows).apply(u)
            total += u.sum(dim=2)
            pulled += self._pull_block(u, x, mask)
        image = self._from_pulled(pulled, total)
        if residual is not None:
            E = residual.view(self.k, self.groups, self.e, self.m)
            image.w.add_(torch.einsum("kgem,skm->sgem", E, along.v))
            image.v.add_(torch.einsum("kgem,sgem->skm", E, along.w))
        return self._join(image)

    def diagonal(self, weigh: OutputWeights) -> Float[Tensor, " p"]:
        """The exact diagonal of Jᵀ S J, which is that of the Hessian too. Cost: about one product."""
        s_diagonal, quadratic = weigh.diagonal(), weigh.quadratic(self.v)
        w, v = torch.zeros_like(self.w1), torch.zeros_like(self.v)
        for rows, x, mask in self._tiles():
            hidden = self._pooled(torch.bmm(x, self.w1).mul_(mask))
            v += s_diagonal[:, rows] @ hidden.square_()
            samples = len(quadratic[rows])
            if self.groups > 1:
                w += torch.bmm(x.square().transpose(1, 2), mask * quadratic[rows])
            else:
                slopes = torch.bmm(*(part.view(-1, samples, part.shape[2]).permute(order) for part, order in (
                    (x, (1, 2, 0)), (mask, (1, 0, 2))
                )))  # fmt: skip
                w[0] += torch.einsum("cem,cm->em", slopes.square_(), quadratic[rows])
        w /= self.positions**2
        return self._join(_Directions(w[None], v[None], s_diagonal.sum(dim=1)[None]))[:, 0]

    def gram(self) -> Float[Tensor, "nk nk"]:
        """J Jᵀ, rows ordered sample first and output second. Cost O(n·p + n²·p·k²) with rows of J; memory n·p."""
        n = len(self.x)
        rows = torch.eye(n * self.k, dtype=self.x.dtype, device=self.x.device).view(n, self.k, n * self.k)
        jacobian = torch.cat([self.vjp(part) for part in rows.split(64, dim=2)], dim=1)
        return jacobian.T @ jacobian

    # Rows of a block of samples are ordered position first, so that they are one product per group of shared weights.

    def _inputs(self, rows: slice) -> Float[Tensor, "g r e"]:
        x = self.x[rows][:, self.patches].transpose(0, 1)
        return torch.cat([x, -x.new_ones(*x.shape[:2], 1)], dim=2).reshape(self.groups, -1, self.e)

    def _tiles(self) -> Iterator[tuple[slice, Float[Tensor, "g r e"], Float[Tensor, "g r m"]]]:
        """Blocks of samples, their patches, and their masks as numbers."""
        for index, rows in enumerate(self.blocks):
            x = self._inputs(rows)
            mask = self._masks[index] if self._masks else torch.bmm(x, self.w1) > 0
            yield rows, x, mask.view(torch.uint8).to(x.dtype)  # eight times faster than from booleans

    def _pooled(self, values: Float[Tensor, "g r q"]) -> Float[Tensor, "c q"]:
        return values.reshape(self.positions, -1, values.shape[2]).mean(dim=0)

    def _columns(self, along: _Directions) -> Float[Tensor, "g s k e m"]:
        columns = self.v[:, None] * along.w[:, :, None] + along.v[:, None, :, None] * self.w1[:, None]
        return columns.transpose(0, 1).contiguous()

    def _push(
        self, columns: Float[Tensor, "g s k e m"], x: Float[Tensor, "g r e"], mask: Float[Tensor, "g r m"]
    ) -> Float[Tensor, "s k c"]:
        g, s, k = columns.shape[:3]
        image = torch.bmm(columns.flatten(1, 3), mask.transpose(1, 2)).view(g, s, k, self.e, -1)
        image = image.mul_(x.transpose(1, 2)[:, None, None]).sum(dim=3)
        return image.view(g, s, k, self.positions // g, -1).sum(dim=(0, 3)) / self.positions

    def _pull_block(
        self, u: Float[Tensor, "s k c"], x: Float[Tensor, "g r e"], mask: Float[Tensor, "g r m"]
    ) -> Float[Tensor, "g s k e m"]:
        s, k, c = u.shape
        spread = (u / self.positions)[:, :, None].expand(s, k, self.positions // self.groups, c).reshape(s, k, 1, -1)
        columns = spread * x.transpose(1, 2)[:, None, None]
        return torch.bmm(columns.flatten(1, 3), mask).view(self.groups, s, k, self.e, self.m)

    def _pull(self, u: Float[Tensor, "s k n"]) -> Float[Tensor, "g s k e m"]:
        total = u.new_zeros(self.groups, *u.shape[:2], self.e, self.m)
        for rows, x, mask in self._tiles():
            total += self._pull_block(u[:, :, rows], x, mask)
        return total

    def _from_pulled(self, pulled: Float[Tensor, "g s k e m"], output_bias: Float[Tensor, "s k"]) -> _Directions:
        w = torch.einsum("gskem,km->sgem", pulled, self.v)
        return _Directions(w, torch.einsum("gskem,gem->skm", pulled, self.w1), output_bias)

    def _split(self, block: Float[Tensor, "p s"]) -> _Directions:
        g, e, m, k, s = self.groups, self.e, self.m, self.k, block.shape[1]
        w, b, v, output_bias = block.T.split([g * m * (e - 1), g * m, k * m, k], dim=1)
        w = torch.cat([w.reshape(s, g, m, e - 1), b.reshape(s, g, m, 1)], dim=3).transpose(2, 3)
        return _Directions(w, v.reshape(s, k, m), output_bias)

    def _join(self, directions: _Directions) -> Float[Tensor, "p s"]:
        w, v, output_bias = directions
        return torch.cat(
            [w[:, :, :-1].transpose(2, 3).flatten(1), w[:, :, -1].flatten(1), v.flatten(1), output_bias], 1
        ).T
