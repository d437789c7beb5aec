"""Matrices with a curvature of their inputs, rounded; what their errors cost."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bitconverter.engine import Cancel, Engine, planes_unpack, quantize_planes, rotate
from bitconverter.model.calibrated_fit import TILE, Rounded, improve
from bitconverter.model.curvature import Curvature, Moments
from bitconverter.model.output_curvature import OutputCurvature


def f16(scales: np.ndarray) -> np.ndarray:
    return scales.astype(np.float16).astype(np.float32)


def case(rows: int, cols: int, pool: ThreadPoolExecutor) -> tuple[np.ndarray, Curvature]:
    draw = np.random.default_rng(rows * cols)
    x = draw.standard_normal((4 * cols, cols)) @ (draw.standard_normal((cols, cols)) + 3 * np.eye(cols))
    made = Moments(cols, 10**6)
    made.add(x.astype(np.float32), pool)
    return draw.standard_normal((rows, cols)).astype(np.float32), made.curvature()


def fit(
    w: np.ndarray,
    found: Curvature,
    n: int,
    pool: ThreadPoolExecutor,
    cancel: Cancel | None = None,
    outputs: OutputCurvature | None = None,
    tile: int = TILE,
) -> tuple[Rounded, np.ndarray, np.ndarray, np.ndarray]:
    engine = Engine(threads=1)
    planes, scales, _ = quantize_planes(engine, w, seed=0, n_planes=n, importance=found.importance)
    q, rotated = planes_unpack(engine, planes, len(w)), rotate(engine, w, seed=0)
    made = improve(
        rotated, q, scales, found, n,
        storable=f16, engines=lambda: Engine(threads=1), pool=pool, cancel=cancel or Cancel(),
        outputs=outputs, tile=tile,
    )  # fmt: skip
    return made, rotated, q, scales


def costs(w: np.ndarray, q: np.ndarray, scales: np.ndarray, found: Curvature) -> np.ndarray:
    """e' H e of every row, in f64."""
    e = w.astype(np.float64) - scales[:, None].astype(np.float64) * q
    total = np.zeros(len(w))
    for b in found.blocks:
        part = e[:, b.start : b.stop]
        total += np.einsum("rc,cd,rd->r", part, b.h.astype(np.float64), part)
    return total
