"""Packaging of ``fuxictr_loopfm`` alone; zoo, configurations and scripts stay in the checkout."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# A node of a Ray cluster does not come up without aiohttp, which ray does not ask for by itself.
RAY = ["ray>=2.52", "aiohttp"]
TEST = ["pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", *RAY]


def read_version() -> str:
    """The package's ``__version__``, read as text because importing it needs its dependencies."""
    source = (ROOT / "fuxictr_loopfm" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', source, flags=re.MULTILINE)
    if match is None:
        raise SystemExit('fuxictr_loopfm/__init__.py: expected a line __version__ = "..."')
    return match.group(1)


setup(
    name="fuxictr_loopfm",
    version=read_version(),
    description="LoopFM for FuxiCTR: a teacher's embeddings of past impressions as a feature.",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["fuxictr_loopfm", "fuxictr_loopfm.*"]),
    python_requires=">=3.10",
    install_requires=[
        "fuxictr==2.3.10",
        # Older ones run code in weights even if told to load weights only (CVE-2025-32434).
        "torch>=2.6",
        "numba",
        "numpy",
        "pandas",
        # FuxiCTR 2.3.10 passes an argument that polars 2 no longer has.
        "polars<2",
        "pyarrow",
        "h5py",
        "pyyaml>=6",
        "scikit-learn",
        "scipy",
        "tqdm",
        "filelock",
    ],
    extras_require={
        "ray": RAY,
        "test": TEST,
        "dev": [*TEST, "ruff", "mypy", "types-PyYAML"],
    },
    entry_points={"console_scripts": ["loopfm = fuxictr_loopfm.commands.cli:main"]},
)
