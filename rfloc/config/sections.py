"""One pydantic model a section of params.yaml: what each knob means and what it may be.

Defaults stand in conf/config.yaml alone; what a city or an experiment does not say of itself has its default here.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _rises(values: list[float]) -> list[float]:
    if sorted(values) != values:
        raise ValueError(f"{values} does not rise: it is [low, ..., high]")
    return values


def _on_the_map(box: list[float]) -> list[float]:
    lat_min, lat_max, lon_min, lon_max = box
    if not (-85 <= lat_min < lat_max <= 85 and -180 <= lon_min < lon_max <= min(lon_min + 180, 360)):
        across = -180 <= lon_max < 0 < lon_min <= 180  # west of the 180th meridian to east of it
        mend = f"; across the 180th meridian write {[*box[:3], round(lon_max + 360, 7)]}" if across else ""
        raise ValueError(f"box {box} is no area on the map: its order is lat_min, lat_max, lon_min, lon_max{mend}")
    return box


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Hertz = Annotated[float, Field(ge=1e8, le=1e11)]
Tilt = Annotated[float, Field(ge=-20, le=45)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Depth = Annotated[int, Field(ge=0, le=20)]
#: lat_min, lat_max, lon_min, lon_max [deg]; across the 180th meridian lon_max passes 180
Box = Annotated[list[float], Field(min_length=4, max_length=4), AfterValidator(_on_the_map)]
Range = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_rises)]
LatLon = Annotated[list[float], Field(min_length=2, max_length=2)]
Names = Annotated[list[str], Field(min_length=1)]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, and values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class DataParams(Section):
    """Where the inputs that git does not hold are found."""

    root: str | None  #: folder of published files; null: $RFLOC_DATA, then data/
    weights: str | None  #: folder of pretrained weights; null: $RFLOC_WEIGHTS


#: What a column of a map may be named for.
Meaning = Literal["kind", "height", "height_ft", "levels", "min_height", "min_level", "class", "tunnel", "bridge"]


class CityParams(Section):
    """One city: where its geometry comes from and how its frame lies on the earth."""

    name: str  #: shown in figures
    #: footprints of a Sionna RT scene, of files, of OpenStreetMap; or none: an empty map, where none is to be had
    source: Literal["sionna", "file", "overpass", "none"]
    scene: str | None = None  #: sionna: name of the scene
    buildings: str | None = None  #: file: footprints (.parquet, .gpkg, .geojson, .osm, .osm.pbf)
    streets: str | None = None  #: file: street centre lines; may be the file of the footprints
    tile_zoom: Depth | None = None  #: file: cut at Web Mercator tiles of this zoom level
    osm_date: Time | None = None  #: overpass: state of the map [UTC]
    #: overpass: which server is asked
    overpass_url: str = Field("https://overpass-api.de/api/interpreter", pattern="^https?://")
    box: Box | None = None  #: all but sionna: what is taken
    margin: NotNegative = 0.0  #: raster and mesh reach this far past the box [m]
    origin: LatLon | None = None  #: lat, lon of the frame [deg]; null: centre of the box
    height_prior: Positive | None = None  #: median of measured heights [m], for untagged buildings; null: by area
    #: file, overpass: meaning -> the column of footprints or streets that says it under a name of its own
    columns: dict[Meaning, str] = Field(default_factory=dict)
    patches_only: bool = False  #: a region: never built whole, only patches of it are

    @model_validator(mode="after")
    def _complete(self) -> Self:
        sources = {"sionna": "scene origin", "file": "buildings streets box", "overpass": "osm_date box", "none": "box"}
        needs = sources[self.source]
        if missing := [key for key in needs.split() if getattr(self, key) is None]:
            raise ValueError(f"a city with source {self.source!r} needs {', '.join(missing)}")
        return self

    @property
    def centre(self) -> tuple[float, float]:
        """Origin of the city's frame: latitude, longitude [deg]."""
        lat_min, lat_max, lon_min, lon_max = self.box or [0.0] * 4
        lat, lon = self.origin or ((lat_min + lat_max) / 2, (lon_min + lon_max) / 2)
        return lat, lon - 360 if lon > 180 else lon


class CampaignParams(Section):
    """Dataset A: the measured campaign, real or with hidden parameters."""

    kind: Literal["hidden", "nbiot", "table"]  #: hidden: simulated reality; nbiot: a .mat file; table: CSV or Parquet
    cities: Names  #: cities with a campaign: the first is home, others are tested zero-shot
    stations: Count  #: hidden: base stations a city
    height: Range  #: hidden: mast height range [m]
    ues: Count  #: hidden: UE locations a city
    position_sd: NotNegative  #: hidden: true minus nominal station position, per axis [m]
    azimuth_sd: NotNegative  #: hidden: true minus nominal azimuth [deg]
    gain_sd: NotNegative  #: hidden: true minus nominal power [dB]
    shadowing_sd: NotNegative  #: hidden: shadowing [dB]
    shadowing_distance: Positive  #: hidden: distance at which shadowing decorrelates to 1/e [m]
    mat: str  #: nbiot: file, under data.root
    manifest: str | None  #: nbiot: check the files against conf/data/<manifest>.json
    published: str | None  #: nbiot: positions published with it: rows of a crop (.csv), a table of eNodeBs (.mat)
    cell_table: str | None  #: nbiot: table of cells with positions and error ellipses (.xlsx)
    interpolated: bool  #: nbiot: also take interpolated rows, marked
    #: cells whose position is stated; or all, the others placed from training UEs; or all placed so, whatever is stated
    positions: Literal["known", "all", "training"]
    table: str | None  #: table: a row a measurement (rfloc/datasets/columns.json), under data.root or data/
    reject: bool  #: table: values that cannot be meant are dropped and counted; false: an error names them all

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "table" and self.table is None:
            raise ValueError("a campaign of kind 'table' needs `table`, the file that holds it")
        idle = {"table": ("cell_table", "interpolated")}.get(self.kind, ("table", "reject"))
        if ignored := [key for key in idle if getattr(self, key)]:
            raise ValueError(f"a campaign of kind {self.kind!r} does not read {', '.join(ignored)}: unset one")
        if self.kind == "nbiot" and self.positions == "known" and not (self.published or self.cell_table):
            raise ValueError("no cell has a known position: name `published` or `cell_table`, or set positions to all")
        return self

    @property
    def files(self) -> list[str]:
        """Files that a measured campaign is read from, under data.root or data/."""
        used = {"hidden": (), "table": (self.table,), "nbiot": (self.mat, self.published, self.cell_table)}
        return [name for name in dict.fromkeys(used[self.kind]) if name]


#: How test data can leak into training: UEs of both at one position; training UEs in a held-out area or its buffer;
#: training crops over one; stations calibrated, or placed, with test UEs; levels interpolated from any neighbours.
Leak = Literal["positions", "buffer", "crops", "calibration", "stations", "interpolated"]


class SplitParams(Section):
    """Known streets, unknown streets and what lies between."""

    kind: Literal["blocks", "boxes"]  #: blocks: drawn at random; boxes: those named below
    test_box: Box | None  #: boxes: unknown streets
    val_box: Box | None  #: boxes: validation
    block: Positive  #: edge of a spatial block [m]
    unknown: Fraction  #: share of UEs in held-out blocks: unknown streets
    known: Fraction  #: share of the other UEs held out at random: known streets
    val: Fraction  #: share of the others in blocks that choose checkpoints
    buffer: NotNegative  #: training UEs keep this distance from held-out areas [m]
    crop_gap: NotNegative | None  #: training crops keep this distance from held-out areas [m]; null: may overlap
    allow: list[Leak]  #: leaks that are reported; every other one is an error

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "boxes" and (self.test_box is None or self.val_box is None):
            raise ValueError("a split by boxes needs test_box and val_box")
        return self


class RadioParams(Section):
    """The radio interface: carrier, grid and receiver."""

    carrier_hz: Hertz  #: carrier frequency [Hz]
    power_dbm: float = Field(ge=-30, le=80)  #: transmit power of a station [dBm]
    resource_blocks: Count  #: N_RB, 12 subcarriers of 15 kHz each
    noise_figure_db: float = Field(ge=0, le=30)  #: receiver noise figure [dB]
    load: Fraction  #: share of resource elements that other cells occupy
    sensitivity_dbm: float = Field(ge=-200, le=0)  #: weakest NRSRP that is reported [dBm]
    detection_db: float = Field(ge=-300, le=30)  #: weakest NSINR at which a station is detected [dB]
    ue_height: Positive  #: antenna height of a UE [m]
    pattern: Literal["isotropic", "dipole", "tr38901"]  #: element pattern of a station
    front_to_back_db: float = Field(ge=0, le=60)  #: greatest attenuation off boresight [dB]
    downtilt: Tilt  #: downtilt of a station [deg]


class SimulationParams(Section):
    """How rays are traced, into radio maps and paths."""

    cell: Positive  #: cell of a radio map [m]
    samples: Count  #: rays a station
    max_depth: Depth  #: interactions a ray
    specular: bool  #: specular reflection
    diffuse: bool  #: diffuse reflection
    refraction: bool  #: transmission through walls
    diffraction: bool  #: first-order edge diffraction by the tracer
    rooftop: bool  #: power-sum a path over the rooftops (COST 231 Walfisch-Ikegami)
    scattering: Fraction  #: scattering coefficient of all materials
    map_batches: int = Field(ge=2, le=64)  #: independent batches of rays; their scatter is a map's Monte Carlo error
    check_ues: Count  #: UEs at which maps are compared with traced paths


class SyntheticParams(Section):
    """Datasets B, with the measured stations, and C, with invented ones (paper 4.2, 4.3)."""

    b_cities: Names  #: cities of dataset B
    b_ues: Count  #: UEs a city of dataset B
    b_where: Literal["streets", "outdoor", "box"]  #: UEs of B: on streets, all outdoor ground, anywhere (the paper's)
    c_source: Literal["rays", "statistical"]  #: levels of C: traced, or of the simulator fitted on A's training UEs
    c_regions: list[str]  #: cities that dataset C cuts into patches
    c_patches: Annotated[list[Count], Field(min_length=2, max_length=2)]  #: rows and columns a region; 1 x 1: as it is
    c_take: Count | None  #: patches a region, drawn at random; null: all
    c_deployments: Count  #: random deployments, each with a seed of its own, a region
    c_stations: Count  #: stations a patch
    c_ues: Count  #: UEs a patch
    c_height: Range  #: mast height range [m]
    c_samples: Count  #: rays a station
    c_margin: NotNegative  #: raster and mesh of a patch reach this far past it [m]
    c_border: NotNegative  #: stations of other patches this near to a patch are heard in it [m]
    c_dense: Positive | None  #: dense twins: stations and UEs in sub-regions of this edge [m]; null: none

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.c_border > self.c_margin:
            raise ValueError(f"c_border {self.c_border:g} m is past c_margin {self.c_margin:g} m: a scene ends there")
        if self.c_take is not None and self.c_take > self.c_patches[0] * self.c_patches[1]:
            raise ValueError(f"c_take {self.c_take} is more than the patches of a region: {self.c_patches}")
        return self


class EngineParams(Section):
    """Where stations are traced, on Dask."""

    scheduler: str  #: local, slurm, or the address of a Dask scheduler
    workers: Count | None  #: worker processes of one thread; null: one a core


class CalibrationParams(Section):
    """Base-station poses from training measurements (paper section 5.2)."""

    position_sd: Positive  #: prior of a position that states no error of its own, per axis [m]
    height_sd: Positive  #: prior of an antenna's height [m]
    azimuth_sd: Positive  #: prior of an azimuth that the table states [deg]
    downtilt_sd: Positive  #: prior of a downtilt, round the scenario's [deg]
    candidates: int = Field(ge=8)  #: candidate poses of a site, screened without rays
    traces: int = Field(ge=4)  #: candidate poses of a site that are traced
    samples: Count  #: rays a trace
    azimuth_step: float = Field(gt=0, le=90)  #: step of the exact azimuth scan [deg]
    min_ues: int = Field(ge=8)  #: stations heard by fewer training UEs stay nominal
    n_calls: int = Field(ge=11)  #: evaluations of the paper's search
    paper_stations: Whole | None  #: stations for which the paper's search runs; null: all


class SensitivityParams(Section):
    """One simulation parameter varied at a time, from the base that the other sections give (paper 5.1)."""

    samples: Count  #: rays a station
    seeds: Count  #: other rays at the base: how sure all is
    depths: list[Depth]  #: interactions a ray
    scatterings: list[Fraction]  #: scattering coefficients
    carriers_hz: list[Hertz]  #: carriers [Hz]
    downtilts: list[Tilt]  #: downtilts [deg]
    azimuth_step: float = Field(gt=0, le=180)  #: step in which all stations are turned [deg]
    heights: list[Positive]  #: mast heights, of all stations at once [m]
    shifts: list[Positive]  #: distances by which all stations are moved [m]
    directions: Count  #: draws of random directions a distance


class LevelParams(Section):
    """How well levels are predicted where nothing was measured (beyond the paper)."""

    candidates: Count  #: candidate poses a station, the nominal one included
    radius: Positive  #: they lie within this distance of the nominal position [m]
    height: Range  #: their mast height range [m]
    samples: Count  #: rays a candidate
    folds: int = Field(ge=3)  #: folds of blocks; random positions are dealt into twice as many
    draws: Count  #: random allocations of blocks to folds


class CropParams(Section):
    """Crops: what a localizer sees."""

    size: Positive  #: edge of a crop [m]
    jitter: Fraction  #: UE lies uniformly in this central share of the crop
    min_heard: Count  #: stations that must be heard inside the crop
    max_bs: Count  #: strongest stations kept
    pixels: Count  #: edge of the model's image [px]
    output: Count  #: edge of the posterior grid [cells]
    per_ue: Count  #: evaluation crops a UE
    var_mean: Positive  #: A_var: mean half edge of a crop [m]
    var_sd: Positive  #: A_var: standard deviation of the half edge [m]
    var_range: Range  #: A_var: smallest and largest half edge [m]
    var_bin: Positive  #: A_var: width of a bin of edges [m]


class ModelParams(Section):
    """MapRadioFormer+ (paper section 6) and MLP+UNet (appendix C)."""

    recipe: Literal["ours", "paper"]  #: ours: a pair score's logits are added; paper: the published networks alone
    backbone: Literal["small", "dinov2-small", "dinov2-base", "dinov2-large"]  #: image trunk
    pretrained: bool  #: load DINOv2 weights from data.weights
    width: Count  #: small: hidden width
    depth: Count  #: small: transformer layers
    heads: Count  #: small: attention heads
    patch: Count  #: patch edge [px]
    mlp: list[int] = Field(min_length=1)  #: widths of the radio MLP
    unet_divisor: Count  #: MLP+UNet: the published widths are divided by it


class TrainingParams(Section):
    """How every experiment is trained."""

    batch_size: Count  #: crops a step
    lr: Positive  #: peak learning rate
    weight_decay: NotNegative  #: AdamW weight decay
    warmup: Fraction  #: share of steps that warm up
    max_epochs: Count  #: passes; a pass draws samples / max_epochs crops
    loss: Literal["softmax", "bce"]  #: softmax cross-entropy, or the paper's pixel BCE
    noise_db: NotNegative  #: noise added to simulated features [dB]
    dropout_bs: Fraction  #: up to this share of heard stations is dropped
    flips: bool  #: random flips and quarter turns of a crop
    bf16: bool  #: bfloat16 autocast
    devices: Count  #: more than one trains with DDP


class ExperimentParams(Section):
    """One row of Table 1."""

    label: str  #: name in tables
    start: str  #: experiment whose checkpoint it starts from; init: the untrained model
    #: dataset it trains on; S: of the statistical simulator, without rays; oslo: the paper's second city, measured
    data: Literal["A", "B", "Bp", "C", "S", "oslo"]
    adapt: Literal["A", "oslo"] | None = None  #: unlabelled dataset to which it adapts, by an adversary (appendix D)
    samples: Count  #: crops drawn in all
    model: str = "map_radioformer"  #: network, as rfloc.localizers.networks names it
    lr_scale: Positive = 1.0  #: factor on training.lr
    schedule: Literal["wsd", "linear"] = "wsd"  #: learning-rate schedule


class BaselineParams(Section):
    """Trivial predictors, k-NN and the posterior on radio maps (paper section 7.1)."""

    k: Count  #: neighbours
    fill_db: float  #: RSSI filled in for stations not heard, k-NN as published [dBm]
    posterior_sd: Positive  #: residual of measurement against map [dB]
    temper: float = Field(gt=0, le=1)  #: exponent on the likelihood
    missed: float = Field(ge=0, lt=1)  #: share of strong stations that a UE does not report


class EvaluationParams(Section):
    """Metrics and their uncertainty."""

    bootstrap: Count  #: bootstrap draws
    block: Positive  #: blocks that are resampled [m]
    level: float = Field(gt=0, lt=1)  #: confidence level


class Params(Section):
    """All of params.yaml."""

    scale: Annotated[str, Field(pattern=r"^\w+$")]  #: which conf/scale composed this
    variant: str  #: which conf/variant composed this
    seed: Whole  #: seed of everything random
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
    def _consistent(self) -> Self:
        whole = {"campaign.cities": self.campaign.cities, "synthetic.b_cities": self.synthetic.b_cities}
        for where, names in (whole | {"synthetic.c_regions": self.synthetic.c_regions}).items():
            for name in names:
                if name not in self.cities:
                    raise ValueError(f"{where} names the city {name!r}, but cities are {', '.join(self.cities)}")
                if self.cities[name].patches_only and (where in whole or self.synthetic.c_patches == [1, 1]):
                    raise ValueError(f"{where} names {name!r}, of which only patches are built")
        for key, experiment in self.experiments.items():
            if experiment.start == key or experiment.start not in {"init", *self.experiments}:
                raise ValueError(f"experiments.{key}.start is {experiment.start!r}, which is no other experiment")
        if self.crops.pixels % self.model.patch:
            raise ValueError(f"crops.pixels={self.crops.pixels} is no multiple of model.patch={self.model.patch}")
        return self
