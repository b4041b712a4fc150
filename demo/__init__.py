"""The demo: three small language models, trained here from scratch, and their cascade."""

from pathlib import Path

FOLDER = Path(__file__).parent
MODELS = FOLDER / "models"
CASCADE = FOLDER / "cascade.yaml"
