"""A comparison as one HTML file that needs nothing beside it: no scripts, no network."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from ai8xsim.compare import MEANINGS, Comparison, LayerComparison
from ai8xsim.compare.measures import Observed
from ai8xsim.diagnostics import Diagnostic, render
from ai8xsim.trace import Trace

MOST_PICTURES = 24
BAR_PIXELS = 160
BEST_DECIBELS = 60.0  # a longer bar would tell nothing
LARGEST_PICTURE = 1024  # in pixels; a larger output is shown by the maximum of each block
BINS = 15

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Page:
    """What a page says beside the comparison: a title, facts about the two sides, and what was found."""

    title: str
    facts: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def comparison_page(page: Page, comparison: Comparison, ours: Trace, theirs: Mapping[int, Observed]) -> str:
    """The page: verdict, what was found, each layer's measures, and pictures of the layers that differ.

    theirs: by layer number. Names of files and layers are escaped, whoever wrote them.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ai8xsim.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    differing = [layer for layer in comparison.compared if not layer.is_equal][:MOST_PICTURES]
    shown = {
        "title": page.title,
        "facts": page.facts,
        "verdict": verdict(comparison),
        "diagnostics": [render(diagnostic) for diagnostic in page.diagnostics],
        "rows": [_row(layer, layer in differing) for layer in comparison.layers],
        "meanings": tuple(MEANINGS.items()),
        "pictures": [_picture(layer, ours, theirs) for layer in differing],
    }
    return environment.get_template("comparison.html").render(page=shown, comparison=comparison)


def verdict(comparison: Comparison) -> str:
    """The result in one sentence."""
    differing = [layer for layer in comparison.compared if not layer.is_equal]
    compared = len(comparison.compared)
    if not differing:
        return f"every value of every compared layer is equal ({compared} of {len(comparison.layers)} layers)"
    return f"{len(differing)} of {compared} compared layers differ, first {differing[0].title}"


def _row(layer: LayerComparison, has_picture: bool) -> dict[str, Any]:
    measures = layer.measures
    row = {
        "index": layer.index,
        "name": layer.name or "",
        "theirs": layer.theirs or "",
        "reason": layer.reason,
    }
    if measures is None:
        return {**row, "anchor": False}
    is_finite = isfinite(measures.sqnr_db)
    share = min(1.0, max(0.0, measures.sqnr_db / BEST_DECIBELS)) if is_finite else float(measures.sqnr_db > 0)
    first = "" if measures.first is None else f"{measures.first}: {measures.ours}, {measures.theirs:g}"
    return {
        **row,
        "anchor": has_picture,
        "is_equal": layer.is_equal,
        "different": f"{measures.different:,} of {measures.total:,}",
        "first": first,
        "largest": f"{measures.largest:g}",
        "mean": f"{measures.mean:.3g}",
        "sqnr": f"{measures.sqnr_db:.1f}" if is_finite else "∞" if measures.sqnr_db > 0 else "-∞",
        "width": round(BAR_PIXELS * share),
        "cosine": f"{measures.cosine:.5f}",
    }


def _picture(layer: LayerComparison, ours: Trace, theirs: Mapping[int, Observed]) -> dict[str, Any]:
    apart = ours[layer.index].samples.astype(np.float64) - theirs[layer.index].values
    by_channel = np.abs(apart).max(axis=0).reshape(apart.shape[1], -1)
    shown = _shrunk(by_channel)
    rows, columns = shown.shape
    zoom = max(1, min(8, 800 // columns))
    values = f"{rows} channels" if rows == apart.shape[1] else f"{apart.shape[1]} channels in {rows} rows"
    caption = f"{values} from top to bottom, pixels from left to right"
    return {
        "index": layer.index,
        "title": layer.title,
        "caption": f"{caption}; black is equal, white {by_channel.max():g}",
        "png": _png(shown),
        "width": columns * zoom,
        "histogram": _histogram(apart),
    }


def _shrunk(values: Values) -> Values:
    """No side longer than the largest picture; blocks give their maximum."""
    for axis in (0, 1):
        step = -(-values.shape[axis] // LARGEST_PICTURE)
        starts = np.arange(0, values.shape[axis], step)
        values = np.maximum.reduceat(values, starts, axis=axis)
    return values


def _png(values: Values) -> str:
    from PIL import Image

    scaled = np.zeros(values.shape, np.uint8)
    is_apart = values > 0
    scaled[is_apart] = 64 + np.rint(191 * values[is_apart] / values.max()).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(scaled).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _histogram(apart: Values) -> list[dict[str, Any]]:
    """How many values differ by how much; the equal ones are left out."""
    different = apart[apart != 0]
    names, counts = np.unique(different, return_counts=True)
    labels = [f"{name:g}" for name in names]
    if len(names) > BINS:
        counts, edges = np.histogram(different, BINS)
        labels = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return [
        {"range": label, "count": f"{count:,}", "width": round(BAR_PIXELS * count / counts.max())}
        for label, count in zip(labels, counts.tolist(), strict=True)
    ]
