"""The parameters of the project: one pydantic model a section of params.yaml, validated on every load.

`conf/` composes params.yaml (Hydra); notebooks receive a section's keys as plain variables, named `section_key`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rfloc.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Box = Annotated[list[float], Field(min_length=4, max_length=4)]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, and values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True, protected_namespaces=())


class DataParams(Section):
    """Where the inputs that git does not hold are found."""

    root: str | None = Field(None, description="folder of published files; null: $RFLOC_DATA, then data/")
    weights: str | None = Field(None, description="folder of pretrained weights; null: $RFLOC_WEIGHTS")


class CityParams(Section):
    """One city: where its geometry comes from and how its frame lies on the earth."""

    name: str = Field(description="name shown in figures")
    source: Literal["sionna", "file"] = Field(description="one of Sionna RT's scenes, or footprints from a file")
    scene: str | None = Field(None, description="sionna: name of the scene")
    buildings: str | None = Field(None, description="file: footprints (GeoParquet, GeoPackage, GeoJSON)")
    streets: str | None = Field(None, description="file: street centre lines")
    box: Box | None = Field(None, description="file: lat_min, lat_max, lon_min, lon_max [deg]")
    margin: float = Field(0.0, ge=0, description="raster and mesh reach this far past the box [m]")
    origin: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(description="frame origin lat, lon [deg]")
    default_height: Positive = Field(18.0, description="height of buildings that OSM gives none for [m]")

    @model_validator(mode="after")
    def _complete(self) -> CityParams:
        if self.source == "sionna" and self.scene is None:
            raise ValueError("a city from Sionna needs `scene`")
        if self.source == "file":
            missing = [k for k in ("buildings", "streets", "box") if getattr(self, k) is None]
            if missing:
                raise ValueError(f"a city from files needs {', '.join(missing)}")
            lat_min, lat_max, lon_min, lon_max = self.box or [0.0] * 4
            if not (lat_min < lat_max and lon_min < lon_max):
                raise ValueError(f"box {self.box} is empty: order is lat_min, lat_max, lon_min, lon_max")
        return self


class CampaignParams(Section):
    """Dataset A: the measured campaign, real or with hidden parameters."""

    kind: Literal["hidden", "nbiot"] = Field(description="hidden: simulated reality; nbiot: the published Rome files")
    cities: list[str] = Field(description="cities with a campaign: the first is home, others are tested zero-shot")
    stations: Count = Field(20, description="hidden: base stations a city")
    height: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        [28.0, 42.0], description="hidden: mast height range [m]"
    )
    ues: Count = Field(2600, description="hidden: UE locations a city")
    position_sd: float = Field(12.0, ge=0, description="hidden: true minus nominal station position, per axis [m]")
    azimuth_sd: float = Field(25.0, ge=0, description="hidden: true minus nominal azimuth [deg]")
    gain_sd: float = Field(3.0, ge=0, description="hidden: true minus nominal power [dB]")
    shadowing_sd: float = Field(6.0, ge=0, description="hidden: shadowing [dB]")
    shadowing_distance: Positive = Field(
        40.0, description="hidden: distance at which shadowing decorrelates to 1/e [m]"
    )
    step: float = Field(1.0, ge=0, description="hidden: quantisation of the reports [dB]")
    strongest: Count = Field(10, description="hidden: at most this many stations are reported")
    max_ues: int | None = Field(None, ge=10, description="nbiot: keep a random subset of the UE locations")
    max_bs: int | None = Field(None, ge=1, description="nbiot: keep only the stations heard most often")


class SplitParams(Section):
    """Known streets, unknown streets and what lies between."""

    block: Positive = Field(150.0, description="edge of a spatial block [m]")
    unknown: Fraction = Field(0.2, description="share of blocks that are held out: unknown streets")
    known: Fraction = Field(0.1, description="share of the other UEs held out at random: known streets")
    val: Fraction = Field(0.1, description="share of the remaining blocks that choose checkpoints")
    buffer: float = Field(20.0, ge=0, description="training UEs keep this distance from held-out blocks [m]")


class RadioParams(Section):
    """The radio interface: carrier, grid and receiver."""

    carrier_hz: float = Field(0.8e9, ge=1e8, le=1e11, description="carrier frequency [Hz]")
    power_dbm: float = Field(43.0, ge=-30, le=80, description="transmit power of a station [dBm]")
    resource_blocks: Count = Field(84, description="N_RB, 12 subcarriers of 15 kHz each")
    noise_figure_db: float = Field(7.0, ge=0, le=30, description="receiver noise figure [dB]")
    load: Fraction = Field(0.2, description="share of resource elements that other cells occupy")
    sensitivity_dbm: float = Field(-118.0, ge=-200, le=0, description="weakest NRSRP that is reported [dBm]")
    detection_db: float = Field(-20.0, ge=-300, le=30, description="weakest NSINR at which a station is detected [dB]")
    ue_height: Positive = Field(1.5, description="antenna height of a UE [m]")
    pattern: Literal["isotropic", "tr38901"] = Field("tr38901", description="element pattern of a station")
    front_to_back_db: float = Field(30.0, ge=0, le=60, description="greatest attenuation off boresight [dB]")
    downtilt: float = Field(6.0, ge=-20, le=45, description="downtilt of a station [deg]")


class SimulationParams(Section):
    """Radio maps by ray tracing, and datasets B and C read off them."""

    cell: Positive = Field(5.0, description="cell of a radio map [m]")
    samples: Count = Field(4_000_000, description="rays a station")
    max_depth: int = Field(5, ge=0, le=20, description="interactions a ray")
    specular: bool = Field(True, description="specular reflection")
    diffuse: bool = Field(True, description="diffuse reflection")
    refraction: bool = Field(False, description="transmission through walls")
    diffraction: bool = Field(False, description="first-order edge diffraction by the tracer")
    rooftop: bool = Field(True, description="power-sum a path over the rooftops (COST 231 Walfisch-Ikegami)")
    scattering: Fraction = Field(0.4, description="scattering coefficient of all materials")
    b_ues: Count = Field(6000, description="UEs of dataset B")
    c_cities: list[str] = Field(["home"], description="cities of dataset C")
    c_deployments: Count = Field(3, description="random deployments a city of dataset C")
    c_stations: Count = Field(20, description="stations a deployment of dataset C")
    c_ues: Count = Field(3000, description="UEs a deployment of dataset C")
    c_samples: Count = Field(2_000_000, description="rays a station of dataset C")
    check_ues: Count = Field(40, description="UEs at which maps are compared with traced paths")


class CalibrationParams(Section):
    """Base-station poses from training measurements."""

    candidates: Count = Field(5, description="candidate positions a station, the nominal one included")
    radius: Positive = Field(24.0, description="candidates lie within this distance of the nominal position [m]")
    samples: Count = Field(1_000_000, description="rays a candidate")
    azimuth_step: float = Field(5.0, gt=0, le=90, description="step of the exact azimuth scan [deg]")
    min_ues: Count = Field(30, description="stations heard by fewer training UEs stay nominal")
    residual_df: float = Field(4.0, gt=0, description="degrees of freedom of the Student-t residual")


class CropParams(Section):
    """Crops: what a localizer sees."""

    size: Positive = Field(560.0, description="edge of a crop [m]")
    jitter: float = Field(0.9, ge=0, le=1, description="UE lies uniformly in this central share of the crop")
    min_heard: Count = Field(3, description="stations that must be heard inside the crop")
    max_bs: Count = Field(10, description="strongest stations kept")
    pixels: Count = Field(112, description="edge of the model's image [px]")
    output: Count = Field(56, description="edge of the posterior grid [cells]")
    per_ue: Count = Field(1, description="evaluation crops a UE")
    max_eval: int | None = Field(None, ge=1, description="evaluation UEs a role (random subset); null: all")


class ModelParams(Section):
    """MapRadioFormer+ (paper section 6)."""

    backbone: Literal["small", "dinov2-small", "dinov2-base", "dinov2-large"] = Field(
        "small", description="image trunk"
    )
    pretrained: bool = Field(False, description="load DINOv2 weights from data.weights")
    width: Count = Field(128, description="small: hidden width")
    depth: Count = Field(4, description="small: transformer layers")
    heads: Count = Field(4, description="small: attention heads")
    patch: Count = Field(14, description="patch edge [px]")
    mlp: Annotated[list[int], Field(min_length=1)] = Field([256, 1024], description="widths of the radio MLP")


class TrainingParams(Section):
    """How every experiment is trained."""

    batch_size: Count = Field(32, description="crops a step")
    lr: Positive = Field(1.2e-3, description="peak learning rate")
    weight_decay: float = Field(0.05, ge=0, description="AdamW weight decay")
    warmup: Fraction = Field(0.05, description="share of steps that warm up")
    decay: Fraction = Field(0.5, description="share of steps that decay")
    max_epochs: Count = Field(20, description="passes; a pass draws samples / max_epochs crops")
    loss: Literal["softmax", "bce"] = Field("softmax", description="softmax cross-entropy, or the paper's pixel BCE")
    noise_db: float = Field(8.0, ge=0, description="noise added to simulated features [dB]")
    dropout_bs: Fraction = Field(0.4, description="up to this share of heard stations is dropped")
    flips: bool = Field(True, description="random flips and quarter turns of a crop")
    bf16: bool = Field(False, description="bfloat16 autocast")
    devices: Count = Field(1, description="devices; more than one trains with DDP")


class ExperimentParams(Section):
    """One row of Table 1."""

    label: str = Field(description="name in tables")
    start: str = Field(description="experiment whose checkpoint it starts from; init: the untrained model")
    data: Literal["A", "B", "Bp", "C"] = Field(description="dataset it trains on")
    samples: Count = Field(description="crops drawn in all")
    lr_scale: Positive = Field(1.0, description="factor on training.lr")
    schedule: Literal["wsd", "linear"] = Field("wsd", description="learning-rate schedule")


class BaselineParams(Section):
    """Trivial predictors, k-NN and the posterior on radio maps (paper section 7.1)."""

    k: Count = Field(5, description="neighbours")
    fill_db: float = Field(-25.0, description="RSSI filled in for stations not heard, k-NN as published [dBm]")
    posterior_sd: Positive = Field(9.0, description="residual of measurement against map [dB]")
    temper: float = Field(0.5, gt=0, le=1, description="exponent on the likelihood")
    missed: float = Field(0.02, ge=0, lt=1, description="share of strong stations that a UE does not report")


class EvaluationParams(Section):
    """Metrics and their uncertainty."""

    bootstrap: Count = Field(2000, description="bootstrap draws")
    block: Positive = Field(150.0, description="blocks that are resampled [m]")
    level: float = Field(0.95, gt=0, lt=1, description="confidence level")


class Params(Section):
    """All of params.yaml."""

    scale: Literal["smoke", "demo", "rome", "rome_tiny", "paper"] = Field(description="which conf/scale composed this")
    variant: Literal["default", "released_code"] = Field("default", description="which conf/variant composed this")
    seed: int = Field(7, ge=0, description="seed of everything random")
    data: DataParams
    cities: dict[str, CityParams]
    campaign: CampaignParams
    splits: SplitParams
    radio: RadioParams
    simulation: SimulationParams
    calibration: CalibrationParams
    crops: CropParams
    model: ModelParams
    training: TrainingParams
    experiments: dict[str, ExperimentParams]
    baselines: BaselineParams
    evaluation: EvaluationParams

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        for where, names in (
            ("campaign.cities", self.campaign.cities),
            ("simulation.c_cities", self.simulation.c_cities),
        ):
            for name in names:
                if name not in self.cities:
                    raise ValueError(f"{where} names the city {name!r}, but cities are {', '.join(self.cities)}")
        for key, experiment in self.experiments.items():
            if experiment.start != "init" and experiment.start not in self.experiments:
                raise ValueError(f"experiments.{key}.start is {experiment.start!r}, which is no experiment")
        if self.crops.pixels % self.model.patch:
            raise ValueError(f"crops.pixels={self.crops.pixels} is no multiple of model.patch={self.model.patch}")
        return self


#: The sections of params.yaml that a notebook may ask for, by name.
SECTIONS: dict[str, type[Section]] = {
    name: info.annotation
    for name, info in Params.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}

S = TypeVar("S", bound=BaseModel)


def _known_keys(model: Any, path: tuple[str | int, ...]) -> list[str]:
    """The keys that are allowed at the parent of `path`, walking through nested sections and dictionaries."""
    for part in path[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields is None:
            break
        info = fields.get(part)
        if info is None:
            return []
        model = info.annotation
        args = getattr(model, "__args__", ())
        if args and getattr(model, "__origin__", None) is dict:
            return list(getattr(args[1], "model_fields", {}))
    return list(getattr(model, "model_fields", {}))


def check(model: type[S], values: Mapping[str, Any], where: str = "") -> S:
    """Validate values against a section and return it.

    Raises
    ------
    ConfigError
        Naming every offending key, what is allowed there and, for an unknown key, the nearest match.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems, mends = [], []
        for item in error.errors():
            path = tuple(item["loc"])
            key = ".".join([where, *map(str, path)] if where else map(str, path))
            if item["type"] == "extra_forbidden":
                known = _known_keys(model, path)
                near = difflib.get_close_matches(str(path[-1]), known, n=1)
                problems.append(f"unknown parameter {key!r}")
                mends.append(f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}")
            else:
                said = item["msg"].removeprefix("Value error, ")
                got = "" if item["type"] in ("missing", "value_error") else f" (got {item['input']!r})"
                problems.append(f"parameter {key or where or 'params'}: {said}{got}")
        raise ConfigError(
            "; ".join(problems),
            "every parameter is checked when it is loaded, so that a slip cannot pass unnoticed",
            "; ".join(mends) or "conf/ holds the defaults, rfloc/config.py the allowed values",
        ) from None


def load(path: str | Path = "params.yaml") -> Params:
    """Read and validate params.yaml (raises ConfigError)."""
    path = Path(path)
    if not path.exists():
        raise ConfigError(
            f"there is no parameter file at {path.resolve()}",
            "commands run in the project folder, the one that holds params.yaml",
            "change into it, or compose the file with `rfloc params --scale demo`",
        )
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path} is not valid YAML", str(error).replace("\n", " "), "mend the line it names"
        ) from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no parameters", f"its top level is {type(raw).__name__}, not a mapping")
    return check(Params, raw)


def section(name: str, variables: Mapping[str, Any]) -> Any:
    """Build a section from a notebook's variables, named `section_key` (e.g. `crops_size`).

    Every key of the section must be there, and no other variable may start with `name_`: a parameter that papermill
    injected under a mistyped name is an error, not a silence.

    Raises
    ------
    ConfigError
        If a variable is missing, unknown, ill-typed or out of range.
    """
    model = SECTIONS.get(name)
    if model is None:
        raise ConfigError(f"there is no section {name!r}", f"sections are {', '.join(SECTIONS)}")
    prefix = name + "_"
    values = {key.removeprefix(prefix): value for key, value in variables.items() if key.startswith(prefix)}
    missing = [key for key in model.model_fields if key not in values]
    if missing:
        raise ConfigError(
            f"the notebook's parameters lack {', '.join(prefix + key for key in missing)}",
            f"section {name!r} has them",
            "add them to the cell tagged `parameters`",
        )
    return check(model, values, where=name)


def project_root(start: str | Path = "") -> Path:
    """The project folder: `start`, or the nearest folder from here upwards that holds params.yaml and dvc.yaml.

    Raises
    ------
    ConfigError
        If there is none.
    """
    here = Path(start).resolve() if start else Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    raise ConfigError(
        f"{here} lies in no RF-Loc project",
        "the project folder is the one that holds params.yaml and dvc.yaml",
        "run from inside a clone, or set the parameter `root` to one",
    )


def data_root(params: DataParams, project: Path) -> Path:
    """Folder of the published measurement files: the parameter, else $RFLOC_DATA, else the project's data/."""
    return Path(params.root or os.environ.get("RFLOC_DATA") or project / "data")


def weights_root(params: DataParams) -> Path | None:
    """Folder of pretrained weights: the parameter, else $RFLOC_WEIGHTS, else None."""
    found = params.weights or os.environ.get("RFLOC_WEIGHTS")
    return Path(found) if found else None
