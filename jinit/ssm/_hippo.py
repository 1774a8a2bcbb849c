"""HiPPO: matrices whose states are the coefficients of the past.

A system x' = A x + B u of N states keeps the coefficients of the signal u in N
orthogonal functions of the past. All are computed in double precision on the host.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from jinit._checks import choice, count

MEASURES = ("legs", "legt", "fout")


class _Diagonal(NamedTuple):
    eigenvalues: np.ndarray
    p: np.ndarray
    b: np.ndarray
    v: np.ndarray


def hippo(n: int, measure: str = "legs") -> tuple[np.ndarray, np.ndarray]:
    """The HiPPO matrices A and B of a way to weigh the past.

        legs    all of the past alike, in Legendre polynomials: x' = (A x + B u) / t
        legt    the last unit of time, in Legendre polynomials
        fout    the last unit of time, in cosines and sines

    States decay: the eigenvalues of LegS are -1, -2, ..., -N. The second state of FouT
    is the sine of frequency zero, and stays zero.

    Args:
      n: The number of states N; even for "fout", which pairs cosines with sines.
      measure: "legs", "legt" or "fout".

    Returns:
      A of shape (n, n) and B of shape (n,), as NumPy arrays of float64.

    Raises:
      TypeError: `n` is not an integer.
      ValueError: `n` is less than 1, or odd for "fout"; `measure` is none of these.

    Example:
      >>> import jinit
      >>> A, B = jinit.ssm.hippo(3)
      >>> print(A.round(2), B.round(2))
      [[-1.    0.    0.  ]
       [-1.73 -2.    0.  ]
       [-2.24 -3.87 -3.  ]] [1.   1.73 2.24]

    References:
      Gu et al. (2020), arXiv:2008.07669, theorems 1 and 2; Gu et al. (2022),
      arXiv:2206.12037, for FouT. `state-spaces/s4` halves A and B of LegT and FouT, so
      that these see the last two units of time.
    """
    n, measure = count("n", n), choice("measure", measure, MEASURES)
    k = np.arange(n)
    row, column = k[:, None], k
    r = np.sqrt(2.0 * k + 1)
    if measure == "legs":
        return -np.tril(np.outer(r, r), -1) - np.diag(k + 1.0), r
    if measure == "legt":
        sign = np.where(row < column, (-1.0) ** (row - column), 1.0)
        return -np.outer(r, r) * sign, r
    if n % 2:
        raise ValueError(
            f"n must be even for measure='fout', a sine for each cosine, got {n}."
        )
    b = 2 * _at_the_end(n)
    turns = np.where((row == column + 1) & (row % 2 == 1), np.pi * column, 0.0)
    return turns - turns.T - np.outer(b, b) / 2, b


def dplr(n: int, measure: str = "legs") -> _Diagonal:
    """The diagonal form of a HiPPO matrix, up to a term of rank one or two.

        A = V (diag(eigenvalues) - P Pᴴ) Vᴴ,    B = V b,    V Vᴴ = I

    A itself cannot be diagonalized in practice: its eigenvectors grow as 2^(4N/3). A
    plus the term of low rank is normal, and skew but for a multiple of the identity.
    S4 starts from all of it, S4D and S5 leave the term out.

    Args:
      n: The number of states, as in `jinit.ssm.hippo`.
      measure: "legs", "legt" or "fout".

    Returns:
      A named tuple of complex NumPy arrays: `eigenvalues` (n,), by imaginary part; `p`
      (n, 1), for "legt" (n, 2); `b` (n,); `v` (n, n). They are conjugate in pairs, the
      last with the first. Of real signals the half with positive imaginary parts, the
      last n // 2, tells all: x is twice the real part of V[:, half] times that half.
      Eigenvectors have the phase that makes b positive.

    Raises:
      TypeError: `n` is not an integer.
      ValueError: As in `jinit.ssm.hippo`.

    Example:
      >>> import numpy as np, jinit
      >>> A, B = jinit.ssm.hippo(64)
      >>> eigenvalues, p, b, v = jinit.ssm.dplr(64)
      >>> again = v @ (np.diag(eigenvalues) - p @ p.conj().T) @ v.conj().T
      >>> bool(abs(again - A).max() < 1e-10)
      True
      >>> print(set(eigenvalues.real))
      {np.float64(-0.5)}

    References:
      Gu, Goel and Ré (2022), arXiv:2111.00396, theorem 1. In float32, as in many ports,
      the least eigenvalue of 256 is off by about a thousandth. `lindermanlab/S5` keeps
      the half with negative imaginary parts, which is the same model.
    """
    return _Diagonal(*map(np.copy, _diagonalized(count("n", n), measure)))


@lru_cache(maxsize=64)
def _diagonalized(n: int, measure: str) -> _Diagonal:
    A, B = hippo(n, measure)
    p = _low_rank(n, measure)
    normal = A + p @ p.T
    skew = (normal - normal.T) / 2
    if measure == "fout":
        # The constant, and the sine of no frequency, are both kept: as a pair that
        # turns at a frequency of no other, they have eigenvectors like all others.
        skew[1, 0], skew[0, 1] = 1.0, -1.0
    imaginary, v = np.linalg.eigh(-1j * skew)
    if measure == "fout":
        imaginary[n // 2 - 1 : n // 2 + 1] = 0.0
    b = v.conj().T @ B
    v = v * (b / abs(b))
    real = -0.5 if measure == "legs" else 0.0  # the diagonal of A + P Pᵀ
    return _Diagonal(real + 1j * imaginary, v.conj().T @ p, v.conj().T @ B, v)


def _low_rank(n: int, measure: str) -> np.ndarray:
    """The columns P that make A + P Pᵀ normal."""
    k = np.arange(n)
    if measure == "legs":
        return np.sqrt(k + 0.5)[:, None]
    if measure == "legt":
        return np.sqrt(2 * k + 1)[:, None] * (k[:, None] % 2 == [0, 1])
    return np.sqrt(2) * _at_the_end(n)[:, None]


def _at_the_end(n: int) -> Any:
    """The values of 1, 0, √2 cos, √2 sin, ... where they begin and end."""
    values = np.where(np.arange(n) % 2, 0.0, np.sqrt(2))
    values[:1] = 1.0
    return values
