"""Comparing distributions: log-likelihood and KL divergence of logits, in f64."""

import numpy as np
import numpy.typing as npt

from bitconverter.engine._native import call, lib, pointer
from bitconverter.engine.engine import Engine
from bitconverter.engine.errors import InvalidError

F32 = npt.NDArray[np.float32]


def logits_score(
    engine: Engine, logits: F32, targets: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """-log p(target) f64 [n] in nats and the most likely token i32 [n], from logits f32 [n, vocab]."""
    x = np.ascontiguousarray(logits, dtype=np.float32)
    wanted = np.ascontiguousarray(targets, dtype=np.int32)
    if x.ndim != 2 or wanted.shape != x.shape[:1]:
        raise InvalidError(f"logits of shape {x.shape} with targets of shape {wanted.shape}")
    nll, argmax = np.empty(len(x), np.float64), np.empty(len(x), np.int32)
    call(
        lib.bc_logits_score,
        engine.handle,
        pointer("float", x),
        *x.shape,
        pointer("int32_t", wanted),
        pointer("double", nll),
        pointer("int32_t", argmax),
    )
    return nll, argmax


def logits_divergence(engine: Engine, reference: F32, logits: F32) -> npt.NDArray[np.float64]:
    """KL(reference || model) f64 [n] in nats, from two arrays of logits f32 [n, vocab]."""
    p = np.ascontiguousarray(reference, dtype=np.float32)
    q = np.ascontiguousarray(logits, dtype=np.float32)
    if p.ndim != 2 or p.shape != q.shape:
        raise InvalidError(f"logits of shapes {p.shape} and {q.shape}")
    kl = np.empty(len(p), np.float64)
    call(
        lib.bc_logits_divergence,
        engine.handle,
        pointer("float", p),
        pointer("float", q),
        *p.shape,
        pointer("double", kl),
    )
    return kl
