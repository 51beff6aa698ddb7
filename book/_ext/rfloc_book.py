"""Sphinx extension of the book: numbers from results/, titles of experiments, alternative texts, who made a page."""

from __future__ import annotations

import html
import re
import textwrap
from pathlib import Path
from typing import Any

from docutils import nodes
from rfloc_rome import substitutions as rome
from rfloc_tables import tables
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from rfloc.errors import RFLocError
from rfloc.evaluation.tables import Row
from rfloc.pipeline import book

WIDTH, ROW = 760, 24


def chart(rows: dict[str, Row]) -> str:
    """Mean errors with their intervals as inline SVG: a line a localizer, a mark a kind of street.

    The axis ends at 1.6 times the error of guessing the crop's centre; what lies beyond is written at the edge.
    """
    end = 1.6 * rows["centre"].unknown.mean
    height = ROW * len(rows) + 56
    left = 30 + 7 * max(len(row.label) for row in rows.values())

    def x(metres: float) -> float:
        return left + (WIDTH - left - 16) * min(metres, end) / end

    foot = ROW * len(rows) + 10
    parts = []
    for tick in range(0, int(end) + 1, 50):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" y1="4" x2="{x(tick):.1f}" y2="{foot}"/>')
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{foot + 16}">{tick}</text>')
    guess = x(rows["centre"].unknown.mean)
    parts.append(f'<line class="guess" x1="{guess:.1f}" y1="4" x2="{guess:.1f}" y2="{foot}"/>')
    for i, row in enumerate(rows.values()):
        y = ROW * i + 18
        parts.append(f'<text class="name" x="{left - 14}" y="{y + 4}">{html.escape(row.label)}</text>')
        for street, dy in (("known", -3.5), ("unknown", 3.5)):
            score = row.on(street)
            if score.mean > end:
                said = f"{score.mean:.0f} m →"
                parts.append(f'<text class="{street} beyond" x="{WIDTH - 8}" y="{y + dy + 5}">{said}</text>')
                continue
            lo, hi, mean = (x(score.mean if at is None else at) for at in (score.lo, score.hi, score.mean))
            said = f"{html.escape(row.label)}, {street} streets: {score.text}"
            parts.append(f'<g class="{street}"><title>{said}</title>')
            parts.append(f'<line x1="{lo:.1f}" y1="{y + dy}" x2="{hi:.1f}" y2="{y + dy}"/>')
            mark = (
                f'<circle cx="{mean:.1f}" cy="{y + dy}" r="4"/>'
                if street == "known"
                else f'<rect x="{mean - 3.8:.1f}" y="{y + dy - 3.8}" width="7.6" height="7.6"/>'
            )
            parts.append(mark + "</g>")
    y, at = foot + 36, WIDTH - 512
    parts.append(
        f'<g class="known"><circle cx="{at}" cy="{y - 4}" r="4"/></g>'
        f'<text class="key" x="{at + 11}" y="{y}">known streets</text>'
        f'<g class="unknown"><rect x="{at + 116}" y="{y - 8}" width="8" height="8"/></g>'
        f'<text class="key" x="{at + 131}" y="{y}">unknown streets</text>'
        f'<line class="guess" x1="{at + 251}" y1="{y - 4}" x2="{at + 271}" y2="{y - 4}"/>'
        f'<text class="key" x="{at + 278}" y="{y}">crop centre, unknown · mean error [m]</text>'
    )
    title = "Mean error of every localizer on known and on unknown streets, with intervals"
    svg = f'<svg class="errors" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return f'<div class="errors">{svg}</div>'


def curves(study: dict[str, Any]) -> str:
    """Validation errors by crops drawn as inline SVG: a panel an experiment, a line a seed, dashed the plateau."""
    found = {key: row for key, row in study.items() if row["curves"][0]["val_errors"][0] is not None}
    if not found:
        return ""
    across, wide, high, between = 4, WIDTH // 4, 120, 64
    drawn = [curve for row in found.values() for curve in row["curves"]]
    top = 1.2 * max(curve["streets"] or max(curve["val_errors"]) for curve in drawn)
    parts = []
    for k, row in enumerate(found.values()):
        left, foot = wide * (k % across) + 30, (high + between) * (k // across) + high + between - 28
        span = max(curve["samples"][-1] for curve in row["curves"])

        def at(crops: float, metres: float, left: float = left, foot: float = foot, span: float = span) -> str:
            return f"{left + (wide - 40) * crops / span:.1f},{foot - high * min(metres / top, 1):.1f}"

        for up, said in enumerate(reversed(textwrap.wrap(row["label"], 26))):
            parts.append(f'<text class="key" x="{left}" y="{foot - high - 4 - 13 * up}">{html.escape(said)}</text>')
        for tick in range(0, int(top), 50):
            start, end = at(0, tick), at(span, tick)
            parts.append(f'<path class="grid" d="M{start} L{end}"/>')
            parts.append(f'<text class="tick" x="{left - 14}" y="{start.split(",")[1]}">{tick}</text>')
        for curve in row["curves"]:
            points = [at(crops, metres) for crops, metres in zip(curve["samples"], curve["val_errors"], strict=True)]
            parts.append(f'<path class="curve" d="M{" L".join(points)}"/>')
        plateau = row["curves"][0]["streets"]
        if plateau is not None:
            parts.append(f'<path class="guess" d="M{at(0, plateau)} L{at(span, plateau)}"/>')
        parts.append(f'<text class="tick" x="{left + wide - 66}" y="{foot + 14}">{span:,.0f} crops</text>')
    height = (high + between) * -(-len(found) // across)
    title = "Mean error on validation crops by crops drawn, a line a seed; dashed: the middle of the streets [m]"
    svg = f'<svg class="errors" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return f'<div class="errors">{svg}<p>{title}</p></div>'


def fill(app: Sphinx, settings: Any) -> None:
    """Give the prose its numbers."""
    root = Path(app.confdir).parent
    try:
        values = book.substitutions(root)
        values |= tables(root, values) | rome(root)
    except RFLocError as error:
        raise ExtensionError(str(error)) from error
    drawn = {"chart": chart(values["rows"]), "seed_curves": curves(values["study"] or values["runs"])}
    settings.myst_substitutions = {**settings.myst_substitutions, **values, **drawn}


def rename(app: Sphinx, page: str, source: list[str]) -> None:
    """Give the figures of every training page names of their own: one notebook made all of those pages."""
    experiment = page.removeprefix(f"executed/{book.TRAINING}-")
    if experiment != page:
        for name in set(re.findall(r'"name": "(fig-[\w-]+)"', source[0])):
            source[0] = re.sub(rf"\b{name}\b(?!-)", f"{name}-{experiment}", source[0])


def finish(app: Sphinx, doctree: nodes.document) -> None:
    """Name the experiment in a training page's title, describe images by their captions, say what made the page."""
    values = app.config.myst_substitutions
    page = Path(app.env.docname).name
    key = page.removeprefix(f"{book.TRAINING}-")
    if key in values["params"]["experiments"] and page != key:
        label = values["params"]["experiments"][key]["label"]
        for title in list(doctree.findall(nodes.title))[:1]:
            title += nodes.Text(f": {label}")
    for image in doctree.findall(nodes.image):
        if not image.get("alt") and isinstance(image.parent, nodes.figure):
            image["alt"] = " ".join(caption.astext() for caption in image.parent.findall(nodes.caption))
    for record in values["records"].values():
        if app.env.docname == f"executed/{book.page_of(record)}":
            stage, seconds = f"Stage {record['stage']}, scale {values['scale']}", f"{record['wall_time_s']:.0f} s"
            said = f"{stage}, revision {book.revision(record)}, {seconds}."
            doctree[-1] += nodes.paragraph("", said, classes=["made-by"])


def strip(app: Sphinx, failed: Exception | None) -> None:
    """Take out the theme's font preloads: a browser that opens the pages as files refuses them, loudly."""
    for page in [] if failed else Path(app.outdir).rglob("*.html"):
        page.write_text(re.sub(r'<link rel="preload" as="font"[^>]*>', "", page.read_text()))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks; titles must be complete before Sphinx collects them."""
    app.connect("config-inited", fill)
    app.connect("source-read", rename)
    app.connect("doctree-read", finish, priority=100)
    app.connect("build-finished", strip)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
