"""What tests of several rooms use."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
