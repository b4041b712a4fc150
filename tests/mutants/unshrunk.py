"""A pytest plugin: hypothesis tells that a test fails, and looks for no simpler example."""

from hypothesis import Phase, settings

settings.register_profile(
    "unshrunk", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None
)
settings.load_profile("unshrunk")
