"""One pydantic model a section of params.yaml: what each knob means and what it may be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rfloc.config.base import Box, Count, Fraction, Positive, Range, Section, check_box
from rfloc.config.calibration import CalibrationParams, LevelParams, SensitivityParams


class DataParams(Section):
    """Where the inputs that git does not hold are found."""

    root: str | None = Field(None, description="folder of published files; null: $RFLOC_DATA, then data/")
    weights: str | None = Field(None, description="folder of pretrained weights; null: $RFLOC_WEIGHTS")


class CityParams(Section):
    """One city: where its geometry comes from and how its frame lies on the earth."""

    name: str = Field(description="name shown in figures")
    source: Literal["sionna", "file", "overpass"] = Field(
        description="one of Sionna RT's scenes; footprints and streets from files; OpenStreetMap by Overpass"
    )
    scene: str | None = Field(None, description="sionna: name of the scene")
    buildings: str | None = Field(None, description="file: footprints (.parquet, .gpkg, .geojson, .osm, .osm.pbf)")
    streets: str | None = Field(None, description="file: street centre lines; may be the file of the footprints")
    tile_zoom: int | None = Field(None, ge=0, le=20, description="file: cut at Web Mercator tiles of this zoom level")
    osm_date: str | None = Field(
        None, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="overpass: state of the map [UTC]"
    )
    overpass_url: str = Field(
        "https://overpass-api.de/api/interpreter", pattern="^https?://", description="overpass: which server is asked"
    )
    box: Box | None = Field(None, description="file, overpass: lat_min, lat_max, lon_min, lon_max [deg]")
    margin: float = Field(0.0, ge=0, description="raster and mesh reach this far past the box [m]")
    origin: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        None, description="frame origin lat, lon [deg]; null: centre of the box"
    )
    height_prior: Positive | None = Field(
        None, description="median of measured building heights here [m], for untagged ones; null: by footprint area"
    )
    height_scale: Positive = Field(1.0, description="factor on every height: a sensitivity switch")
    permittivity_scale: Positive = Field(1.0, description="factor on relative permittivities: a sensitivity switch")
    patches_only: bool = Field(False, description="a region: never built whole, only patches of it are")

    @model_validator(mode="after")
    def _complete(self) -> CityParams:
        wanted = {
            "sionna": ("scene", "origin"),
            "file": ("buildings", "streets", "box"),
            "overpass": ("osm_date", "box"),
        }
        missing = [k for k in wanted[self.source] if getattr(self, k) is None]
        if missing:
            raise ValueError(f"a city with source {self.source!r} needs {', '.join(missing)}")
        if self.box is not None:
            check_box(self.box)
        return self

    @property
    def centre(self) -> tuple[float, float]:
        """Origin of the city's frame: latitude, longitude [deg]."""
        if self.origin is not None:
            return self.origin[0], self.origin[1]
        lat_min, lat_max, lon_min, lon_max = self.box or [0.0] * 4
        return (lat_min + lat_max) / 2, (lon_min + lon_max) / 2


class CampaignParams(Section):
    """Dataset A: the measured campaign, real or with hidden parameters."""

    kind: Literal["hidden", "nbiot", "table"] = Field(
        description="hidden: simulated reality; nbiot: a .mat file; table: CSV or Parquet"
    )
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
    mat: str = Field(
        "rome/Campaign_data_NBIoT_1_2_3_4_5_6_interpolated.mat", description="nbiot: file, under data.root"
    )
    manifest: str | None = Field("rome", description="nbiot: check the files against conf/data/<manifest>.json")
    published: str | None = Field(
        "rome/rome_crop_knn_ready.csv", description="nbiot: station positions, joined by cell"
    )
    cell_table: str | None = Field(None, description="nbiot: table of cells with positions and error ellipses (.xlsx)")
    interpolated: bool = Field(False, description="nbiot: also take interpolated rows, marked")
    positions: Literal["known", "all"] = Field(
        "known", description="nbiot: cells of known position; or place the others from training UEs"
    )
    table: str | None = Field(None, description="table: a row a measurement (.csv, .parquet), under data.root or data/")

    @model_validator(mode="after")
    def _complete(self) -> CampaignParams:
        if self.kind == "table" and self.table is None:
            raise ValueError("a campaign of kind 'table' needs `table`, the file that holds it")
        if self.kind == "nbiot" and self.positions == "known" and not (self.published or self.cell_table):
            raise ValueError("no cell has a known position: name `published` or `cell_table`, or set positions to all")
        return self


#: Ways in which test data can leak into training: UEs of both at one position; training UEs in a held-out area or its
#: buffer; training crops over a held-out area; stations calibrated, or placed, with test UEs; levels interpolated from
#: neighbours of any role.
Leak = Literal["positions", "buffer", "crops", "calibration", "stations", "interpolated"]


class SplitParams(Section):
    """Known streets, unknown streets and what lies between."""

    kind: Literal["blocks", "boxes"] = Field("blocks", description="blocks: drawn at random; boxes: those named below")
    test_box: Box | None = Field(None, description="boxes: unknown streets; lat_min, lat_max, lon_min, lon_max [deg]")
    val_box: Box | None = Field(None, description="boxes: validation; lat_min, lat_max, lon_min, lon_max [deg]")
    block: Positive = Field(150.0, description="edge of a spatial block [m]")
    unknown: Fraction = Field(0.2, description="share of UEs in held-out blocks: unknown streets")
    known: Fraction = Field(0.1, description="share of the other UEs held out at random: known streets")
    val: Fraction = Field(0.1, description="share of the others in blocks that choose checkpoints")
    buffer: float = Field(20.0, ge=0, description="training UEs keep this distance from held-out areas [m]")
    crop_gap: float | None = Field(
        None, ge=0, description="training crops keep this distance from held-out areas [m]; null: they may overlap"
    )
    allow: list[Leak] = Field(["crops"], description="leaks that are reported; every other one is an error")

    @model_validator(mode="after")
    def _complete(self) -> SplitParams:
        if self.kind == "boxes":
            if self.test_box is None or self.val_box is None:
                raise ValueError("a split by boxes needs test_box and val_box")
            check_box(self.test_box), check_box(self.val_box)
        return self


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
    pattern: Literal["isotropic", "dipole", "tr38901"] = Field("tr38901", description="element pattern of a station")
    front_to_back_db: float = Field(30.0, ge=0, le=60, description="greatest attenuation off boresight [dB]")
    downtilt: float = Field(6.0, ge=-20, le=45, description="downtilt of a station [deg]")


class SimulationParams(Section):
    """How rays are traced, into radio maps and paths."""

    cell: Positive = Field(5.0, description="cell of a radio map [m]")
    samples: Count = Field(4_000_000, description="rays a station")
    max_depth: int = Field(5, ge=0, le=20, description="interactions a ray")
    specular: bool = Field(True, description="specular reflection")
    diffuse: bool = Field(True, description="diffuse reflection")
    refraction: bool = Field(False, description="transmission through walls")
    diffraction: bool = Field(False, description="first-order edge diffraction by the tracer")
    rooftop: bool = Field(True, description="power-sum a path over the rooftops (COST 231 Walfisch-Ikegami)")
    scattering: Fraction = Field(0.4, description="scattering coefficient of all materials")
    map_batches: int = Field(
        4, ge=2, le=64, description="independent batches of a map's rays; their scatter is its Monte Carlo error"
    )
    check_ues: Count = Field(40, description="UEs at which maps are compared with traced paths")


class SyntheticParams(Section):
    """Datasets B, with the measured stations, and C, with invented ones (paper 4.2, 4.3)."""

    b_cities: list[str] = Field(["home"], description="cities of dataset B")
    b_ues: Count = Field(6000, description="UEs a city of dataset B")
    b_where: Literal["streets", "outdoor", "box"] = Field(
        "streets", description="UEs of B stand on streets, on all outdoor ground, or anywhere in the box (the paper's)"
    )
    c_regions: list[str] = Field(["home"], description="cities that dataset C cuts into patches")
    c_patches: Annotated[list[Count], Field(min_length=2, max_length=2)] = Field(
        [1, 1], description="rows and columns of patches a region; 1 x 1: the city as it is"
    )
    c_take: int | None = Field(None, ge=1, description="patches a region, drawn at random; null: all")
    c_deployments: Count = Field(3, description="random deployments, each with a seed of its own, a region")
    c_stations: Count = Field(20, description="stations a patch")
    c_ues: Count = Field(3000, description="UEs a patch")
    c_height: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        [28.0, 42.0], description="mast height range [m]"
    )
    c_samples: Count = Field(2_000_000, description="rays a station")
    c_margin: float = Field(320.0, ge=0, description="raster and mesh of a patch reach this far past it [m]")
    c_border: float = Field(0.0, ge=0, description="stations of other patches this near to a patch are heard in it [m]")
    c_dense: float | None = Field(
        None, gt=0, description="dense twins: stations and UEs in sub-regions of this edge [m]; null: none"
    )
    c_source: Literal["rays", "statistical"] = Field("rays", description="what computes the signals of C")
    c_randomise: bool = Field(False, description="draw heights, materials, powers, clutter anew for every patch")
    c_random_height: Range = Field([0.7, 1.4], description="randomised: factor on building heights")
    c_random_scattering: Range = Field([0.1, 0.6], description="randomised: scattering coefficient")
    c_random_permittivity: Range = Field([0.6, 1.6], description="randomised: factor on relative permittivity")
    c_random_power_sd: float = Field(3.0, ge=0, description="randomised: power of a station [dB]")
    c_random_clutter_sd: float = Field(6.0, ge=0, description="randomised: loss added to all links of a patch [dB]")

    @model_validator(mode="after")
    def _complete(self) -> SyntheticParams:
        for name in ("c_height", "c_random_height", "c_random_scattering", "c_random_permittivity"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} [{low}, {high}] does not rise: it is [low, high]")
        if self.c_border > self.c_margin:
            raise ValueError(
                f"c_border {self.c_border:g} m is more than c_margin {self.c_margin:g} m, where a scene ends"
            )
        if self.c_take is not None and self.c_take > self.c_patches[0] * self.c_patches[1]:
            raise ValueError(f"c_take {self.c_take} is more than the patches of a region: {self.c_patches}")
        return self


class EngineParams(Section):
    """Where campaigns run, on Dask."""

    scheduler: str = Field("local", description="local, slurm, or the address of a Dask scheduler")
    workers: int | None = Field(None, ge=1, description="worker processes of one thread; null: one a core")
    shard_links: Count = Field(10_000, description="most links of a shard (paper, appendix I)")
    slurm_queue: str | None = Field(None, description="slurm: partition; null: the default one")
    slurm_cores: Count = Field(1, description="slurm: cores a job")
    slurm_memory_gb: Positive = Field(8.0, description="slurm: memory a job [GB]")
    slurm_walltime: str = Field("04:00:00", pattern=r"^\d+:\d\d:\d\d$", description="slurm: time limit a job")


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
    var_mean: Positive = Field(300.0, description="A_var: mean half edge of a crop [m]")
    var_sd: Positive = Field(100.0, description="A_var: standard deviation of the half edge [m]")
    var_range: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        [100.0, 600.0], description="A_var: smallest and largest half edge [m]"
    )
    var_bin: Positive = Field(200.0, description="A_var: width of a bin of edges [m]")


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
    model: str = Field("map_radioformer", description="network, as rfloc.localizers.networks names it")
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
    synthetic: SyntheticParams
    engine: EngineParams
    calibration: CalibrationParams
    sensitivity: SensitivityParams
    levels: LevelParams
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
            ("synthetic.b_cities", self.synthetic.b_cities),
            ("synthetic.c_regions", self.synthetic.c_regions),
        ):
            for name in names:
                if name not in self.cities:
                    raise ValueError(f"{where} names the city {name!r}, but cities are {', '.join(self.cities)}")
                if self.cities[name].patches_only and (
                    not where.endswith("c_regions") or self.synthetic.c_patches == [1, 1]
                ):
                    raise ValueError(f"{where} names {name!r}, of which only patches are built")
        for key, experiment in self.experiments.items():
            if experiment.start != "init" and experiment.start not in self.experiments:
                raise ValueError(f"experiments.{key}.start is {experiment.start!r}, which is no experiment")
        if self.crops.pixels % self.model.patch:
            raise ValueError(f"crops.pixels={self.crops.pixels} is no multiple of model.patch={self.model.patch}")
        return self
