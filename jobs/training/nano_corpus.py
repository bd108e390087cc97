"""The text that `retune-nano` learns from: short chats that this module makes up, the same ones for the same seed.

A conversation is a few exchanges of one of these kinds: a customer writes and is answered; a message is given its topic,
or the code that the system turn defines for it; a sentence is said in other words; words are copied, counted, turned
round; a question is answered from facts just told; a tool is called; small talk.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypedDict

from jobs.training.nano_topics import TOPICS, Topic


class FunctionCall(TypedDict):
    """The function that a tool call names, and its arguments."""

    name: str
    arguments: dict[str, str]


class ToolCall(TypedDict):
    """One entry of an assistant turn's `tool_calls`."""

    type: str
    function: FunctionCall


class Message(TypedDict, total=False):
    """A turn, as OpenAI's chat format has it."""

    role: str
    content: str | None
    tool_calls: list[ToolCall]


@dataclass(frozen=True)
class Conversation:
    """Turns, and the tools (as OpenAI's `tools`) that they may call."""

    messages: list[Message]
    tools: list[dict[str, object]] = field(default_factory=list)


Slots = dict[str, str]
"""A word for each name in braces; one choice holds for a whole exchange."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ITEMS: Final = _words(
    "laptop phone jacket lamp chair camera keyboard printer watch backpack blender tablet monitor desk sofa kettle tent "
    "bicycle guitar toaster speaker rug mirror shirt radio oven table coat"
)
NAMES: Final = _words(
    "Anna Ben Carla David Emma Felix Grace Henry Iris Jack Karen Leo Maria Noah Olga Paul Rosa Sam Tina Victor Ali Mei"
)
CITIES: Final = _words(
    "Paris London Berlin Madrid Rome Vienna Oslo Lisbon Prague Dublin Athens Warsaw Zurich Helsinki Brussels Boston"
)
COUNTRIES: Final = _words(
    "France Spain Italy Japan Brazil Norway Greece India Kenya Canada Mexico Turkey"
)
COLORS: Final = _words("red blue green black white yellow grey brown purple pink")
ANIMALS: Final = _words("dog cat horse bird fish rabbit fox bear lion mouse")
FOODS: Final = _words("apple bread cheese soup rice pasta salad cake banana egg")
DAYS: Final = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS: Final = _words(
    "January February March April May June July August September October November December"
)
OTHERS: Final = _words(
    "sun moon tree river house road book paper window garden music winter summer happy small big old new fast slow good "
    "cold warm water stone cloud money bank shop train letter door ship"
)
WORDS: Final = ITEMS + COLORS + ANIMALS + FOODS + OTHERS

SLOTS: Final[dict[str, Sequence[str]]] = {
    "item": ITEMS,
    "name": NAMES,
    "city": CITIES,
    "country": COUNTRIES,
    "color": COLORS,
    "day": [day.lower() for day in DAYS],
    "month": [month.lower() for month in MONTHS],
}

SYSTEMS: Final = (
    "You are a helpful assistant.",
    "You are a friendly support agent.",
    "You help the customers of a bank.",
    "You help the customers of a shop.",
    "Answer in one short sentence.",
    "You are Nano, a very small test model.",
)
OPENINGS: Final = (
    "Hello. ",
    "Hi there. ",
    "Good morning. ",
    "Dear team, ",
    "Excuse me. ",
    "One question. ",
    "Hey, ",
    "Please help. ",
)
CLOSINGS: Final = (
    " Thanks.",
    " Thank you.",
    " It is urgent.",
    " My name is {name}.",
    " I live in {city}.",
    " Please answer soon.",
    " What can I do?",
    " Please help me.",
    " I am not happy.",
    " This is the second time I ask.",
)


def conversations(seed: int) -> Iterator[Conversation]:
    """Yield conversations without end, the same ones for the same seed."""
    rng = Random(seed)  # noqa: S311 - nothing secret depends on it
    while True:
        yield conversation(rng)


def conversation(rng: Random) -> Conversation:
    """Make up one conversation: mostly one exchange, at times several, rarely very many."""
    if rng.random() < 0.06:
        return _tool_use(rng)
    kinds, weights = zip(*_KINDS, strict=True)
    first = rng.choices(kinds, weights)[0](rng)
    if first[0]["role"] == "system":
        return Conversation(first)
    system: list[Message] = []
    if rng.random() < 0.3:
        system = [{"role": "system", "content": rng.choice(SYSTEMS)}]
    n_more = rng.choices((0, 1, 2, 16), (80, 14, 5.5, 0.5))[
        0
    ]  # 16: so that far positions are trained too
    more = [turn for _ in range(n_more) for turn in rng.choice(_FOLLOWING)(rng)]
    return Conversation([*system, *first, *more])


def unfold(pattern: str, rng: Random) -> str:
    """Choose one part of each `[a|b]`."""
    while "[" in pattern:
        before, _, rest = pattern.partition("[")
        choices, _, after = rest.partition("]")
        pattern = before + rng.choice(choices.split("|")) + after
    return pattern


def fill_slots(rng: Random) -> Slots:
    """Choose a word for every slot."""
    slots = {name: rng.choice(words) for name, words in SLOTS.items()}
    return slots | {"amount": f"{rng.randint(2, 999)} {rng.choice(('euros', 'dollars', 'pounds'))}"}


def customer_message(topic: Topic, rng: Random, *, slots: Slots | None = None) -> str:
    """Write as one of many customers would about `topic`; at times hasty, in lower case or with a slip."""
    slots = slots or fill_slots(rng)
    saying = unfold(rng.choice(topic.sayings), rng)
    if not saying.endswith("?"):
        saying += rng.choice((".", ".", ".", "!", ""))
    if rng.random() < 0.3:
        opening = rng.choice(OPENINGS)
        saying = opening + (
            saying if opening.endswith(". ") or saying.startswith("I ") else _lower_first(saying)
        )
    if rng.random() < 0.35:
        saying = (saying if saying[-1] in ".!?" else saying + ".") + rng.choice(CLOSINGS)
    text = saying.format(**slots)
    if rng.random() < 0.05:
        text = _slip(text, rng)
    return text.lower() if rng.random() < 0.1 else text


def random_code(rng: Random) -> str:
    """Make up a label such as `TRK-41`, `card_wait` or `B7`."""
    first, second = rng.sample(WORDS, 2)
    letters = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=3))
    match rng.randrange(6):
        case 0:
            return f"{first[:4].upper()}-{second[:5].upper()}"
        case 1:
            return f"{first}_{second}"
        case 2:
            return f"{letters}-{rng.randint(1, 99)}"
        case 3:
            return f"{letters[0]}{rng.randint(0, 9)}"
        case 4:
            return first.upper()
        case _:
            return f"{letters}_{second.upper()}"


def _exchange(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _support(rng: Random) -> list[Message]:
    topic, slots = rng.choice(TOPICS), fill_slots(rng)
    turns = _exchange(
        customer_message(topic, rng, slots=slots), rng.choice(topic.replies).format(**slots)
    )
    return turns + _thanks(rng) if rng.random() < 0.15 else turns


def _thanks(rng: Random) -> list[Message]:
    return _exchange(
        rng.choice(("Thank you.", "Thanks a lot!", "Ok, great.", "That helps.", "Good, thanks.")),
        rng.choice(("You are welcome.", "Happy to help.", "Any time!")),
    )


def _name_topic(rng: Random) -> list[Message]:
    topic = rng.choice(TOPICS)
    message = customer_message(topic, rng)
    asked = rng.choice(("What is this message about? ", "Name the topic: ", "Topic? "))
    return _exchange(asked + message, f"It is about {topic.name}.")


def _is_it_about(rng: Random) -> list[Message]:
    right, wrong = rng.sample(TOPICS, 2)
    is_right = rng.random() < 0.5
    question = f"Is this message about {(right if is_right else wrong).name}? {customer_message(right, rng)}"
    return _exchange(question, "Yes." if is_right else f"No, it is about {right.name}.")


def _choose_topic(rng: Random) -> list[Message]:
    offered = rng.sample(TOPICS, rng.randint(2, 4))
    chosen = rng.choice(offered)
    system = "Choose the topic: " + ", ".join(topic.name for topic in offered) + "."
    return [
        {"role": "system", "content": system},
        *_exchange(customer_message(chosen, rng), chosen.name),
    ]


def _choose_code(rng: Random) -> list[Message]:
    """Classify by codes that the system turn defines: the skill that fine-tuning later makes permanent."""
    offered = rng.sample(TOPICS, rng.randint(2, 4))
    codes = [random_code(rng) for _ in offered]
    pairs = list(zip(offered, codes, strict=True))
    system = "Answer with a code. " + " ".join(f"{code}: {topic.name}." for topic, code in pairs)
    turns: list[Message] = [{"role": "system", "content": system}]
    for topic, code in rng.choices(pairs, k=rng.choice((1, 1, 2, 3))):
        turns += _exchange(customer_message(topic, rng), code)
    return turns


def _codes_by_example(rng: Random) -> list[Message]:
    """Learn, from earlier turns, which code stands for which kind of message."""
    offered = rng.sample(TOPICS, 2)
    codes = [random_code(rng) for _ in offered]
    pairs = list(zip(offered, codes, strict=True))
    turns: list[Message] = [{"role": "system", "content": "Go on as before."}]
    for topic, code in [*rng.sample(pairs, 2), *rng.choices(pairs, k=rng.choice((1, 2, 3)))]:
        turns += _exchange(customer_message(topic, rng), code)
    return turns


def _rephrase(rng: Random) -> list[Message]:
    topic, slots = rng.choice(TOPICS), fill_slots(rng)
    one, two = (customer_message(topic, rng, slots=slots) for _ in range(2))
    if rng.random() < 0.5:
        return _exchange(rng.choice(("Say it in other words: ", "Rephrase: ")) + one, two)
    if is_same := rng.random() < 0.5:
        other = two
    else:
        other = customer_message(rng.choice([t for t in TOPICS if t is not topic]), rng)
    return _exchange(f"Do these mean the same?\n1. {one}\n2. {other}", "Yes." if is_same else "No.")


def _word_play(rng: Random) -> list[Message]:
    words = rng.sample(WORDS, rng.randint(1, 6))
    line = " ".join(words)
    tasks: tuple[tuple[str, str], ...] = (
        (rng.choice(("Repeat after me: ", "Say: ", "Repeat: ")) + line, line),
        ("Write in capital letters: " + line, line.upper()),
        ("What is the first word? " + line, words[0]),
        ("What is the last word? " + line, words[-1]),
        ("How many words? " + line, str(len(words))),
        ("Reverse the order: " + line, " ".join(reversed(words))),
        ("Make a list: " + line, "\n".join(f"- {word}" for word in words)),
        ("Answer with json. word: " + words[0], json.dumps({"word": words[0]})),
    )
    return _exchange(*rng.choice(tasks))


def _copy_code(rng: Random) -> list[Message]:
    code = random_code(rng)
    if rng.random() < 0.4:
        return _exchange(f"Say: {code}", code)
    words = rng.sample(WORDS, rng.randint(1, 3))
    codes = [random_code(rng) for _ in words]
    asked = rng.randrange(len(words))
    told = " ".join(
        f"The code of {word} is {code}." for word, code in zip(words, codes, strict=True)
    )
    return _exchange(f"{told} What is the code of {words[asked]}?", codes[asked])


def _facts(rng: Random) -> list[Message]:
    people = rng.sample(NAMES, rng.randint(1, 3))
    asked = rng.randrange(len(people))
    values, fact, question, answer = rng.choice(_FACTS)
    chosen = rng.sample(values, len(people))
    told = " ".join(fact.format(name=n, value=v) for n, v in zip(people, chosen, strict=True))
    about = {"name": people[asked], "value": chosen[asked]}
    return _exchange(f"{told} {question.format(**about)}", answer.format(**about))


def _knowledge(rng: Random) -> list[Message]:
    match rng.randrange(5):
        case 0:
            a, b = rng.randint(0, 9), rng.randint(0, 9)
            return _exchange(f"What is {a} plus {b}?", str(a + b))
        case 1:
            i = rng.randrange(7)
            return _exchange(f"Which day comes after {DAYS[i]}?", f"{DAYS[(i + 1) % 7]}.")
        case 2:
            i = rng.randrange(12)
            return _exchange(f"Which month comes after {MONTHS[i]}?", f"{MONTHS[(i + 1) % 12]}.")
        case 3:
            kind, words = rng.choice(
                (("a color", COLORS), ("an animal", ANIMALS), ("a food", FOODS))
            )
            return _exchange(
                f"What is {rng.choice(words)}: a color, an animal or a food?", f"It is {kind}."
            )
        case _:
            kind, words = rng.choice(
                (("a color", COLORS), ("an animal", ANIMALS), ("a city", CITIES))
            )
            return _exchange(f"Name {kind}.", f"{rng.choice(words).capitalize()}.")


def _small_talk(rng: Random) -> list[Message]:
    name = rng.choice(NAMES)
    pairs: tuple[tuple[str, str], ...] = (
        (
            "[Hello!|Hi|Hey there|Good morning|Good evening!|Hello]",
            "[Hello! How can I help you?|Hi! What can I do for you?]",
        ),
        (
            "[Who are you?|What is your name?|Are you a human?|What are you?]",
            "I am Nano, a very small test model.",
        ),
        (
            "[How are you?|How is it going?|Are you well?]",
            "I am fine, thank you. How can I help you?",
        ),
        ("[What can you do?|Can you help me?]", "I can answer short questions. Please ask."),
        (
            "[Goodbye|Bye!|See you later|Good night]",
            "[Goodbye! Have a nice day.|Bye! See you soon.]",
        ),
        (f"[My name is|I am] {name}.", f"Nice to meet you, {name}."),
    )
    question, answer = rng.choice(pairs)
    return _exchange(unfold(question, rng), unfold(answer, rng))


@dataclass(frozen=True)
class _Tool:
    name: str
    description: str
    parameter: str
    question: str
    answer: str
    values: Sequence[str]
    results: Sequence[str]

    @property
    def schema(self) -> dict[str, object]:
        parameters = {
            "type": "object",
            "properties": {self.parameter: {"type": "string"}},
            "required": [self.parameter],
        }
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


_ORDERS: Final = [str(number) for number in range(1000, 10000, 37)]
_SUMS: Final = [f"{n} euros" for n in range(5, 900, 13)]
_TOOLS: Final = (
    _Tool("get_weather", "Weather in a city", "city", "[What is the weather in|How is the weather in] {value}?",
          "It is {result} in {value}.", CITIES, _words("sunny rainy cloudy windy cold warm snowing")),
    _Tool("track_order", "Where an order is", "order", "[Where is order|Please track order|Find order] {value}.",
          "Order {value} is {result}.", _ORDERS, ("on its way", "delivered", "still packed", "delayed")),
    _Tool("get_balance", "Balance of an account", "name", "[What is the balance of|How much money has] {value}?",
          "{value} has {result}.", NAMES, _SUMS),
    _Tool("get_price", "Price of an article", "item", "[What does the|How much is the] {value} [cost|now]?",
          "The {value} is {result}.", ITEMS, _SUMS),
    _Tool("opening_hours", "Hours of a branch", "city", "[When is the branch in|Tell me the hours in] {value} [open|please]?",
          "In {value} we are open {result}.", CITIES, ("from nine to five", "from eight to four", "all day")),
    _Tool("find_phone", "Phone number of a person", "name", "[What is the number of|I want to call] {value}.",
          "The number of {value} is {result}.", NAMES, _ORDERS),
)  # fmt: skip


def _tool_use(rng: Random) -> Conversation:
    tool = rng.choice(_TOOLS)
    offered = [tool, *rng.sample([t for t in _TOOLS if t is not tool], rng.choice((0, 0, 1)))]
    rng.shuffle(offered)
    schemas = [offer.schema for offer in offered]
    system: list[Message] = []
    if rng.random() < 0.5:
        system = [{"role": "system", "content": rng.choice(SYSTEMS)}]
    if rng.random() < 0.15:  # a tool is offered, and not needed
        return Conversation([*system, *_small_talk(rng)], schemas)
    value, result = rng.choice(tool.values), rng.choice(tool.results)
    call: ToolCall = {
        "type": "function",
        "function": {"name": tool.name, "arguments": {tool.parameter: value}},
    }
    turns: list[Message] = [
        {"role": "user", "content": unfold(tool.question, rng).format(value=value)},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": result},
        {"role": "assistant", "content": tool.answer.format(value=value, result=result)},
    ]
    return Conversation([*system, *turns], schemas)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _slip(text: str, rng: Random) -> str:
    """Leave a letter out, or swap it with the next."""
    i = rng.randrange(1, len(text) - 1)
    return (
        text[:i] + text[i + 1 :]
        if rng.random() < 0.5
        else text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    )


_FACTS: Final = (
    (CITIES, "{name} lives in {value}.", "Where does {name} live?", "{name} lives in {value}."),
    (ITEMS, "{name} bought a {value}.", "What did {name} buy?", "{name} bought a {value}."),
    (FOODS, "{name} likes {value}.", "Who likes {value}?", "{name} likes {value}."),
    (
        COLORS,
        "The car of {name} is {value}.",
        "Which color has the car of {name}?",
        "It is {value}.",
    ),
)
"""Values to choose from, a fact, a question about it, its answer."""

_Kind = Callable[[Random], list[Message]]
_KINDS: Final[tuple[tuple[_Kind, float], ...]] = (
    (_support, 24),
    (_name_topic, 14),
    (_is_it_about, 6),
    (_choose_topic, 6),
    (_choose_code, 9),
    (_codes_by_example, 7),
    (_rephrase, 8),
    (_word_play, 7),
    (_copy_code, 7),
    (_facts, 5),
    (_knowledge, 3),
    (_small_talk, 6),
)
"""What a conversation opens with, and how often of 102."""
_FOLLOWING: Final[tuple[_Kind, ...]] = (
    _support,
    _name_topic,
    _word_play,
    _copy_code,
    _facts,
    _small_talk,
)
"""What may come later in one: kinds that bring no system turn."""
