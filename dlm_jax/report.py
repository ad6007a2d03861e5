"""Sets results side by side: markdown tables and a page with figures, built from records.

  python -m dlm_jax.report --runs=runs/absorbing,runs/uniform [--results=results] --output=report

A run's records are those that `evaluate`, `judge` and `harness` left in its workdir, and its curve
metrics.jsonl. --results adds the records of a directory (`NAME.json`, called NAME), such as those
that were kept without their runs. Writes report.md and report.html; with --keep=DIRECTORY also
copies each record there.
"""

from dlm_jax import command_line
from dlm_jax.reporting.report_settings import ReportSettings

if __name__ == "__main__":
  command_line.run("dlm_jax.reporting.report_files", ReportSettings)
