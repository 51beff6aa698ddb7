"""Pages of the real city, from the committed results/rome alone: no rays, no build, whatever scale the reader ran.

What a results file does not hold yet is left out or said to be missing; every table says who made it, and when.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
from rfloc_tables import made, markdown, printed_table, verdict_table

from rfloc import files
from rfloc.evaluation.tables import PLATEAU, Row, error_records, metres
from rfloc.figures import ROLE_COLOURS, ROLE_LABELS

#: Files of results/<scale>, the stage that makes each, and what they hold.
FILES = {
    "measurements": ("measurements", "the campaign and its split"), "levels": ("levels", "levels on held-out blocks"),
    "calibration": ("calibration", "station poses"), "sensitivity": ("sensitivity", "parameters of the simulation"),
    "baselines": ("baselines", "k-NN, trivial rows, posteriors"), "table1": ("results", "Table 1"),
    "folds": ("folds", "every block held out once"), "errors": ("results", "every row of every table"),
    "seeds": ("results", "networks over seeds"),
}  # fmt: skip
#: What else pages show: rows of other files, the stages that make them, and what they are.
OTHERS = {"oslo": ("train-oslo", "networks in Oslo"), "trunk": ("train-A", "rows with a larger trunk")}
#: Roles of places in the order in which they are drawn, and the map's width [px] and margin [m].
ROLES = ("buffer", "train", "known", "val", "unknown")
WIDTH, EDGE = 760, 40.0
#: Tables of the paper, and what prose calls them.
TABLES = {n: f"rome_table{n}" for n in ("1", "2", "3a", "3b", "4")}
#: Station poses as calibration.json names them.
POSES = {
    "nominal": "as published", "manual": "corrected by hand", "paper": "the paper's search",
    "unmoved": "levels solved", "levels": "levels solved", "ours": "and masts moved", "moved": "and masts moved",
}  # fmt: skip


class City:
    """The results of one scale, as far as they are there."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.held = {path.stem: files.load_json(path) for path in sorted(results.glob("*.json"))}
        self.maker = "results" if "errors" in self.held else "folds"
        self.rows: list[dict[str, Any]] = self.held["errors"]["rows"] if "errors" in self.held else self._beyond()

    def _beyond(self) -> list[dict[str, Any]]:
        """Rows of the folds and of Oslo's page, which stand before any network is trained."""
        rows, trivial = [], {}
        for name in ("folds", "oslo"):
            found = self.held.get(name, {"rows": []})
            rows += [Row.from_json(row) for row in found["rows"]]
            trivial |= {(city, "fixed"): key for city, key in found.get("trivial", {}).items()}
            trivial |= {("home", "folds"): found["headline"]["trivial_key"]} if "headline" in found else {}
        return error_records(rows, trivial, {})

    def missing(self, name: str) -> str:
        """What stands where a results file does not."""
        return f"*Not made yet at scale {self.results.name}: {(FILES | OTHERS)[name][1]}.*"

    def best(self, street: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Of the home city, by folds where there are: the localizer and the trivial row that validation chose."""
        split = "folds" if "folds" in self.held else "fixed"
        said = self.held["folds"]["headline"] if split == "folds" else self.held.get("headline")
        mine = {
            row["experiment"] or row["localizer"]: row
            for row in self.rows
            if (row["city"], row["split"], row["street"], row["positions"]) == ("home", split, street, "stated")
        }
        return (mine[said[f"learned_{street}"]["key"]], mine[said["trivial_key"]]) if said else None

    def findings(self) -> str:
        """The front page's sentences on the real city."""
        said = []
        for street in ("known", "unknown"):
            if found := self.best(street):
                best, trivial = (f"{_mean(row)} m" for row in found)
                names = [row["label"] for row in found]
                said.append(
                    f"**On {street} streets** the localizer that validation chose errs by {best} ({names[0]}); "
                    f"learning nothing, it is {trivial} ({names[1]}), over {found[0]['n_ue']} places."
                )
        if gains := self.held.get("calibration", {}).get("mean"):
            seen, out = (gains[name].get("paper", {"gain": None}) for name in ("rssi_train", "rssi_held_out"))
            if None not in (seen["gain"], out["gain"]):
                between = " [{:.2f}, {:.2f}]".format(*out["interval"]) if out["interval"] else ""
                said.append(
                    f"**Calibrating stations as the paper does** raises the rank correlation of RSSI by "
                    f"{seen['gain']:.2f} on the places that the search sees, and by {out['gain']:.2f}{between} on "
                    "held-out streets."
                )
        if ratios := _levels(self.held):
            name, (column, best) = ratios[0][0], ratios[0][1]
            rays = next(((label, one) for label, (_, one) in ratios if label.startswith("rays alone")), None)
            text = (
                f"**Levels on streets never measured** ({column}) are told best by *{name}*, whose residual is "
                f"{best['ratio']:.2f} [{best['lo']:.2f}, {best['hi']:.2f}] times that of distance and azimuth"
            )
            said.append(text + (f"; ray-traced maps alone reach {rays[1]['ratio']:.2f} at best." if rays else "."))
        return "\n".join(f"- {text}" for text in said) or self.missing("errors")

    def campaign(self) -> str:
        """Counts of the campaign."""
        if "measurements" not in self.held:
            return self.missing("measurements")
        found = self.held["measurements"]["home"]
        lines = {"rows of the published file": found["counts"].get("rows"), "places": found["ues"]}
        lines |= {"stations of published position": found["stations"], "links": found["links_heard"]}
        lines |= {f"places: {ROLE_LABELS[role]}": n for role, n in found["roles"].items()}
        lines |= {f"rows left out: {why}": n for why, n in found["rejected"].items()}
        caption = f"The campaign; {made(self.results, 'measurements')}"
        return markdown(["", "number"], [[k, f"{n:,}"] for k, n in lines.items() if n], caption, "tab-rome-campaign")

    def levels(self) -> str:
        """Residuals of models of levels on held-out blocks."""
        if not (ratios := _levels(self.held)):
            return self.missing("levels")
        lines = [[k, f"{v['rms_db']:.2f}", f"{v['ratio']:.3f} [{v['lo']:.3f}, {v['hi']:.3f}]"] for k, (_, v) in ratios]
        caption = f"Held-out NRSRP, {ratios[0][1][0]}: residual, and its ratio to that of distance and azimuth"
        caption = f"{caption}; {made(self.results, 'levels')}"
        return markdown(["model", "rms [dB]", "ratio"], lines, caption, "tab-rome-levels")

    def calibration(self) -> str:
        """What each set of poses gains in correlation, and what k-NN makes of it."""
        if "calibration" not in self.held:
            return self.missing("calibration")
        mean, knn, lines = self.held["calibration"]["mean"], self.held["calibration"]["knn"], []
        for pose, label in POSES.items():
            if pose not in mean["rssi_held_out"]:
                continue
            cells = [mean[name][pose] for name in ("rssi_train", "rssi_held_out", "nrsrp_held_out")]
            told = ["–" if c["gain"] is None else f"{c['rho']:.2f} ({c['gain']:+.2f})" for c in cells]
            lines.append([label, *told, metres(knn.get(pose, {}).get("sr_levelled"))])
        header = ["stations", "RSSI, seen", "RSSI, held out", "NRSRP, held out", "k-NN [m]"]
        caption = (
            "Rank correlation of simulated and measured levels, mean over stations (gain over the table); error of k-NN"
        )
        caption = f"{caption} from simulated fingerprints; {made(self.results, 'calibration')}"
        return markdown(header, lines, caption, "tab-rome-calibration")

    def errors(self) -> str:
        """Every row of the home city: known and unknown streets, fixed split and folds."""
        tables = []
        kinds = {
            ("home", "folds"): "every block held out once", ("home", "fixed"): "one fixed split",
            ("rome", "fixed"): "one fixed split without a map", ("oslo", "fixed"): "Oslo's boxes without a map",
        }  # fmt: skip
        for (city, split), said in kinds.items():
            scores: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
            for row in self.rows:
                if (row["city"], row["split"]) == (city, split):
                    label = row["label"] + (", stations placed" if row["positions"] == "training" else "")
                    scores.setdefault((label, row["positions"]), {})[row["street"]] = row
            lines = []
            for (label, _), found in scores.items():
                means = [_mean(found[street]) if street in found else "–" for street in ("known", "unknown")]
                gain = found.get("unknown", {"gain": None, "gain_lo": None, "gain_hi": None})
                lines.append([label, *means, metres(gain["gain"], gain["gain_lo"], gain["gain_hi"])])
            header = ["localizer", "known [m]", "unknown [m]", "gain over centre, unknown [m]"]
            maker = self.maker if city == "home" or "errors" in self.held else "oslo"
            caption = f"Mean errors, {said}; {made(self.results, maker)}"
            tables += [markdown(header, lines, caption, f"tab-rome-{city}-{split}")] if lines else []
        return "\n\n".join(tables) or self.missing("errors")

    def oslo(self) -> str:
        """Networks that trained on Oslo beside what has learned nothing there, in a sentence."""
        at = {"city": "oslo", "split": "fixed", "street": "unknown", "positions": "stated"}
        rows = {row["experiment"] or row["localizer"]: row["mean"] for row in self.rows if at.items() <= row.items()}
        found = sorted(mean for key, mean in rows.items() if key.split("_")[-1] == "oslo")
        if not found or "centroid" not in rows:
            return self.missing("oslo")
        return (
            f"On the unknown street of Oslo the {len(found)} networks that trained on its other streets err by "
            f"{metres(found[0])} to {metres(found[-1])} m, the centroid of the stations that a UE hears, which has "
            f"learned nothing, by {metres(rows['centroid'])} m, and the crop's centre by {metres(rows['centre'])} m."
        )

    def trunk(self) -> str:
        """Rows that were also trained with DINOv2's smallest trunk, at the scale beside this one."""
        scales, lines = {"small": self.results, "DINOv2-S/14": self.results.with_name("rome_dinov2")}, []
        for path in sorted(scales["DINOv2-S/14"].glob("experiments/*.json")):
            for trunk, results in scales.items():
                run = files.load_json(results / "experiments" / path.name)
                scored = Row.from_json(next(row for row in run["rows"]["home"] if row["key"] == path.stem))
                spent = [f"{run['history']['samples'][-1]:,.0f}", f"{run['history']['wall_s'] / 60:.0f}"]
                means = [metres(at.mean, at.lo, at.hi) for at in map(scored.on, ("known", "unknown"))]
                label = run["label"] + (PLATEAU if run["left_plateau"][0] is False else "")
                lines.append([label, trunk, *spent, f"{scored.on('known').crops}", *means])
        header = ["experiment", "trunk", "crops", "time [min]", "judged on", "known [m]", "unknown [m]"]
        caption = "Mean errors on the fixed split, one seed, judged on so many crops of the same UEs; "
        caption += made(scales["DINOv2-S/14"], "train-A")
        return markdown(header, lines, caption, "tab-rome-trunk", left=2) if lines else self.missing("trunk")

    def files(self) -> str:
        """What is there, by whom and of when."""
        lines = []
        for name, (stage, what) in FILES.items():
            lines.append([f"`{name}.json`", what, made(self.results, stage) if name in self.held else "not made yet"])
        return markdown(["file", "holds", "made at"], lines, "Results of scale rome", "tab-rome-files", left=3)

    def picture(self) -> str:
        """Map of the campaign as inline SVG: places by role, stations, a scale bar, north above."""
        if "map" not in self.held:
            return ""
        found = self.held["map"]["home"]
        cells = {role: found["ues"][role] for role in ROLES if found["ues"].get(role)}
        points = np.array([xy for places in cells.values() for xy in places] + found["stations"])
        low, high = points.min(axis=0) - EDGE, points.max(axis=0) + EDGE
        scale = WIDTH / (high - low)[0]
        foot, size = (high - low)[1] * scale, 23 * scale

        def square(colour: str, x: float, y: float, size: float) -> str:
            return f'<rect fill="{colour}" x="{x:.1f}" y="{y:.1f}" width="{size:.1f}" height="{size:.1f}" rx="2"/>'

        def mast(x: float, y: float) -> str:
            return f'<path class="mast" d="M{x:.1f},{y - 9:.1f} l8,14 h-16 z"/>'

        def text(x: float, y: float, said: str) -> str:
            return f'<text class="key" x="{x:.0f}" y="{y:.0f}">{html.escape(said)}</text>'

        def place(xy: list[float]) -> tuple[float, float]:
            return (xy[0] - low[0]) * scale, (high[1] - xy[1]) * scale

        parts, at = [], 8.0
        for role, places in cells.items():
            for x, y in map(place, places):
                parts.append(square(ROLE_COLOURS[role], x - size / 2, y - size / 2, size))
            parts += [square(ROLE_COLOURS[role], at, foot + 8, 11), text(at + 16, foot + 18, ROLE_LABELS[role])]
            at += 46 + 6 * len(ROLE_LABELS[role])
        parts += [mast(*place(xy)) for xy in found["stations"]]
        parts += [mast(at, foot + 15), text(at + 14, foot + 18, "station")]
        parts += [f'<path class="bar" d="M8,{foot - 12:.0f} h{200 * scale:.0f}"/>', text(8, foot - 18, "200 m")]
        title = "Map of the measured places of Rome by role, and of the base stations"
        view = f'viewBox="0 0 {WIDTH} {foot + 30:.0f}"'
        svg = f'<svg class="errors" {view} role="img" aria-label="{title}">{"".join(parts)}</svg>'
        return f'<div class="errors">{svg}</div>'


def _mean(row: dict[str, Any]) -> str:
    return metres(row["mean"], row["lo"], row["hi"])


def _levels(held: dict[str, Any]) -> list[tuple[str, tuple[str, dict[str, float]]]]:
    """Models by their ratio on the widest blocks, the least first."""
    models = held.get("levels", {}).get("models", {})
    columns = {column for found in models.values() for column in found if column.startswith("blocks of")}
    if not columns:
        return []
    widest = max(columns, key=lambda column: float(column.split()[2]))
    found = [(name, (widest, one[widest])) for name, one in models.items() if widest in one]
    return sorted(found, key=lambda item: item[1][1]["ratio"])


def substitutions(root: Path) -> dict[str, str]:
    """Blocks of the pages of the real city, by the name that prose calls them."""
    city = City(root / "results/rome")
    names = ("findings", "campaign", "levels", "calibration", "errors", "trunk", "oslo", "files", "picture")
    blocks = {f"rome_{name}": getattr(city, name)() for name in names}
    if "errors" not in city.held:
        return blocks | dict.fromkeys(("rome_verdicts", *TABLES.values()), city.missing("errors"))
    tables = {name: printed_table(city.results, n, f"tab-rome-table{n}") for n, name in TABLES.items()}
    return blocks | tables | {"rome_verdicts": verdict_table(city.results, "tab-rome-verdicts")}
