"""The flags of the command `report`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
  """What is reported, and where to.

  Attributes:
    runs: workdirs of runs that were evaluated.
    results: directories of records without their runs.
    output: path of the report, without its suffix.
    title: heading of the report.
    keep: directory that each record is copied to. The default is no copy.
  """

  runs: tuple[str, ...] = ()
  results: tuple[str, ...] = ()
  output: str = "report"
  title: str = "Diffusion language models"
  keep: str | None = None
