"""Where things of the repository lie: the one place of the laboratory (and of the tests) that counts folders up."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "docs" / "benchmarks"
"""Pages, figures and pictures of the bench and the studies."""
TEMPLATES = ROOT / "lab" / "page_templates"
"""Their texts, as Jinja templates."""
