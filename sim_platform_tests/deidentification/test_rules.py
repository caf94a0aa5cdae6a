import time

import pytest

from sim_platform.deidentification import rules


@pytest.mark.parametrize(
    ("text", "type", "value"),
    [
        ("SSN: 123-45-6789", "SSN", "123-45-6789"),
        ("ssn is 000000000", "SSN", "000000000"),
        ("MRN 4455-21", "ID", "4455-21"),
        ("order id #W1234567", "ID", "W1234567"),
        ("payment_id: certificate_7504069", "ID", "7504069"),
        ("see 5550001234567", "LONG_NUMBER", "5550001234567"),
        ("mail a.b [at] corp [dot] de", "EMAIL", "a.b [at] corp [dot] de"),
        ("key sk-proj-abcdefghij0123456789", "SECRET", "sk-proj-abcdefghij0123456789"),
        ("AKIAABCDEFGHIJKLMNOP", "SECRET", "AKIAABCDEFGHIJKLMNOP"),
        ("Authorization: Bearer abcdef0123456789xyz", "SECRET", "abcdef0123456789xyz"),
        ("password: hunter22", "SECRET", "hunter22"),
        ("mac 3C:22:FB:00:11:22", "MAC", "3C:22:FB:00:11:22"),
        ("at fe80::1ff:fe23:4567:890a", "IP", "fe80::1ff:fe23:4567:890a"),
        ("ping @some_one99 please", "HANDLE", "@some_one99"),
        (
            "lives at 742 Evergreen Terrace, Springfield, IL 62704",
            "ADDRESS",
            "742 Evergreen Terrace, Springfield, IL 62704",
        ),
        ("born on April 12, 1980 in", "DATE_OF_BIRTH", "April 12, 1980"),
        ("dob: 1980-04-12", "DATE_OF_BIRTH", "1980-04-12"),
        ("postgres://root:pw@db.corp/x", "URL", "postgres://root:pw@db.corp/x"),
        ("https://corp.de/page?uid=5 there", "URL", "https://corp.de/page?uid=5"),
        ("she is 94 years old", "AGE", "94"),
        ("Hello, this is Odile R. Castellane calling about", "PERSON", "Odile R. Castellane"),
        ("cc: Odile Castellane\n", "PERSON", "Odile Castellane"),
        ("I'm Odile Castellane again", "PERSON", "Odile Castellane"),
        ("ext 345-899-3560x4587", "PHONE", "345-899-3560x4587"),
    ],
)
def test_an_identifier_is_found_whole(text: str, type: str, value: str) -> None:
    assert (type, value) in {(t, text[a:b]) for a, b, t in rules.find(text)}


@pytest.mark.parametrize(
    "text",
    [
        "Is 17077 a prime number? Think step by step and then answer [Yes] or [No].",
        "How many happy numbers are there between 4600 and 4606? (e.g, \\boxed{10})",
        (
            "def f(self, nums: list[int]) -> int:\n    @property\n    return nums[1::2][-1] =="
            " self.token.value"
        ),
        (
            "In 2024, 3 of 5 patients were well by 10:30; see"
            " https://docs.python.org/3/library/re.html"
        ),
        "17077 / 3 = 5692.333333333, 4^2 + 6^2 = 52, pi = 3.14159265358979",
        (
            "This is New York. I am Iron Man. This is great news again, and it's Open Source. cc:"
            " the team, from: New York"
        ),
        "class Solution { public: std::vector<int> v; int a = 100000; };",
    ],
)
def test_prompts_without_personal_data_pass_unchanged(text: str) -> None:
    assert rules.find(text) == []


@pytest.mark.parametrize(
    "unit",
    [
        "a.a.",
        "www.",
        "http://",
        "1 ",
        "1-",
        "::",
        "@a",
        "A ",
        "12 A",
        "-----BEGIN PRIVATE KEY-----",
        "a@a.",
        "123 Aa ",
        "password:",
        "Name: ",
    ],
)
def test_time_is_linear_in_the_text(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    start = time.process_time()
    rules.find(text)
    assert time.process_time() - start < 3
