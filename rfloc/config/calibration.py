"""Parameters of the paper's section 5: how stations are calibrated, and which simulation parameters matter."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from rfloc.config.base import Count, Fraction, Positive, Range, Section


class CalibrationParams(Section):
    """Base-station poses from training measurements (paper section 5.2)."""

    radius: Positive = Field(50.0, description="positions searched: this far east, west, north, south of nominal [m]")
    position_sd: Positive | None = Field(
        None, description="prior of a position that states no error of its own, standard deviation per axis [m]"
    )
    height: Range = Field([20.0, 100.0], description="antenna heights searched [m above ground]")
    candidates: int = Field(256, ge=8, description="candidate poses of a site, screened without rays")
    traces: int = Field(24, ge=4, description="candidate poses of a site that are traced")
    samples: Count = Field(1_000_000, description="rays a trace")
    azimuth_step: float = Field(5.0, gt=0, le=90, description="step of the exact azimuth scan [deg]")
    min_ues: int = Field(30, ge=8, description="stations heard by fewer training UEs stay nominal")
    n_calls: int = Field(90, ge=11, description="evaluations of the paper's search")
    paper_stations: int | None = Field(None, ge=0, description="stations for which the paper's search runs; null: all")
    bp_draws: int = Field(0, ge=0, description="poses drawn from their uncertainty for B′; 0: the calibrated ones")

    @model_validator(mode="after")
    def _complete(self) -> CalibrationParams:
        if self.height[0] > self.height[1]:
            raise ValueError(f"height {self.height} does not rise: it is [low, high]")
        return self


class SensitivityParams(Section):
    """One simulation parameter varied at a time, from the base that the other sections give (paper 5.1)."""

    samples: Count = Field(200_000, description="rays a station")
    seeds: Count = Field(2, description="other rays at the base: how sure all is")
    depths: list[Annotated[int, Field(ge=0, le=20)]] = Field([0, 2], description="interactions a ray")
    scatterings: list[Fraction] = Field([0.8], description="scattering coefficients")
    carriers_hz: list[Annotated[float, Field(ge=1e8, le=1e11)]] = Field([1.2e9, 3.5e9], description="carriers [Hz]")
    downtilts: list[Annotated[float, Field(ge=-20, le=45)]] = Field([0.0, 12.0], description="downtilts [deg]")
    azimuth_step: float = Field(45.0, gt=0, le=180, description="step in which all stations are turned [deg]")
    heights: list[Positive] = Field([20.0, 60.0], description="mast heights, of all stations alike [m]")
    shifts: list[Positive] = Field([25.0, 100.0], description="distances by which all stations are moved [m]")
    directions: Count = Field(1, description="draws of random directions a distance")


class LevelParams(Section):
    """How well levels are predicted where nothing was measured (beyond the paper)."""

    candidates: Count = Field(5, description="candidate poses a station, the nominal one included")
    radius: Positive = Field(24.0, description="they lie within this distance of the nominal position [m]")
    height: Range = Field([28.0, 42.0], description="their mast height range [m]")
    samples: Count = Field(200_000, description="rays a candidate")
    folds: int = Field(4, ge=3, description="folds of blocks; random positions are dealt into twice as many")
    draws: Count = Field(1, description="random allocations of blocks to folds")

    @model_validator(mode="after")
    def _complete(self) -> LevelParams:
        if self.height[0] > self.height[1]:
            raise ValueError(f"height {self.height} does not rise: it is [low, high]")
        return self
