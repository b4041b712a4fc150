"""A detokenizer for each tokenizer, at an address of its own."""

from cascadia_sglang.config.voices import Voice, Voices
from cascadia_sglang.fleet.detokenizer import Detokenizers

THREE = Voices(
    all=(
        Voice(number=0, name="a", tiers=(0,), tokenizer=0),
        Voice(number=1, name="b", tiers=(1, 3), tokenizer=0),
        Voice(number=2, name="c", tiers=(2,), tokenizer=1),
    )
)


def test_one_tokenizer_has_the_detokenizer_that_sglang_knows() -> None:
    (only,) = Detokenizers(Voices.single(["a", "b"]))
    assert (only.name, only.address, only.tiers) == ("detokenizer", None, {0, 1})


def test_every_other_tokenizer_has_one_of_its_own() -> None:
    detokenizers = Detokenizers(THREE)
    first, other = detokenizers
    assert (first.name, first.tiers, first.address) == ("detokenizer", {0, 1, 3}, None)
    assert (other.name, other.tiers) == ("detokenizer-c", {2})
    assert other.voice is THREE.all[2]
    assert other.address is not None
    assert other.address.startswith("ipc://")
    assert [detokenizers.address(tier) for tier in range(4)] == [None, None, other.address, None]
