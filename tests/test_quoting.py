"""Text in quotes: what the standard library writes, and fit for a terminal."""

import json

import pytest

from stillfresh.keys.quoting import quoted

AWKWARD = {*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000)}


def test_it_is_json_of_the_standard_library():
    """Every character there is comes out as `json.dumps` writes it, or escaped."""
    plain = [chr(code) for code in range(0x110000) if code not in AWKWARD]
    for start in range(0, len(plain), 10_000):
        text = "".join(plain[start : start + 10_000])
        assert quoted(text) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize("around", ["", "a", "\u00fc", "\U0001f600", '"\\\n'])
def test_what_nobody_can_read_is_escaped(around):
    """Control characters, line separators and halves of pairs are spelled out, and come back."""
    for code in AWKWARD:
        text = f"{around}{chr(code)}{around}"
        assert quoted(text).isprintable()
        assert json.loads(quoted(text)) == text
        assert f"\\u{code:04x}" in quoted(text)


class Shout(str):
    __slots__ = ()

    def __str__(self):
        return self.upper()


def test_a_subclass_is_its_text():
    """What a class makes of itself does not count."""
    assert quoted(Shout("quiet")) == '"quiet"'
