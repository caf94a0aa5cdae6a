import pytest

from sim_platform.deidentification.leaks import reserved_range_leaks


@pytest.mark.parametrize(
    ("text", "type"),
    [
        ("write to someone@corp.de now", "EMAIL"),
        ("call (212) 867-5309", "PHONE"),
        ("call 212-867-5309.", "PHONE"),
        ("call +49 30 901820", "PHONE"),
        ("from 8.8.4.4 to", "IPV4"),
        ("card 4539 1488 0343 6467", "CARD"),
        ("card 4539148803436467", "CARD"),
        ('{"email":"someone@corp.de"}', "EMAIL"),
    ],
)
def test_an_identifier_outside_the_reserved_ranges_is_counted_once(text: str, type: str) -> None:
    assert reserved_range_leaks([text]) == {type: 1}


@pytest.mark.parametrize(
    "text",
    [
        "a.b@example.com, c@example.org",
        "(212) 555-0123 or +1-415-555-0199",
        "192.0.2.7 198.51.100.255 127.0.0.1",
        "4242 4242 4242 4242",
        "Is 17077 a prime number? 17077 / 3 = 5692.333333333",
        "version 1.2.3, 2024-01-02, 3.14159265358979",
        "f(x) = x@y and @property",
    ],
)
def test_reserved_values_and_plain_numbers_are_not_counted(text: str) -> None:
    assert reserved_range_leaks([text]) == {}
