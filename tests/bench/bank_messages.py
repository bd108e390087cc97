"""Customer messages of a bank, made from wordings: what benchmarks train on and ask, the same for the same seed."""

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

Wording = Literal["seen", "unseen"]

SYSTEM = "Sort the bank customer's message. Answer with its code and nothing else."

SLOTS = {
    "amount": ["40 euros", "75", "120 dollars", "9.99", "300 pounds", "1,150", "15 euros"],
    "day": ["yesterday", "on Monday", "last night", "this morning", "two days ago", "on the 14th"],
    "place": ["the station", "a supermarket", "Lisbon", "the airport", "a taxi", "the gym"],
    "country": ["Japan", "Norway", "Mexico", "Canada", "Morocco", "Turkey"],
    "opening": ["", "Hello, ", "Hi there, ", "Good morning. ", "Please help: ", "Sorry, but "],
}
"""What the braces of a wording may stand for."""


class Intent(NamedTuple):
    """What a customer wants, and in which words."""

    code: str
    seen: tuple[str, ...]
    """Wordings that training has."""
    unseen: tuple[str, ...]
    """Wordings that it has not."""


INTENTS = (
    Intent(
        "CARD-LOST",
        (
            "I lost my card at {place} {day}, please block it",
            "my card is gone, I think I left it in {place}",
            "someone stole my wallet {day} and the card was in it",
            "I cannot find my debit card since {day}",
            "block my card, it fell out of my pocket near {place}",
            "where has my bank card gone? I had it {day} at {place}",
            "I misplaced my card and want it stopped at once",
            "my bag was stolen in {country} with all my cards",
            "please freeze the card, a thief has it",
            "I left my wallet in {place} and need the card deactivated",
        ),
        (
            "the plastic is missing and I worry that a stranger pays with it",
            "my purse was snatched at {place}, what about the card in it?",
            "I dropped it somewhere around {place} and want it frozen",
        ),
    ),
    Intent(
        "CARD-WAIT",
        (
            "my new card has not arrived yet",
            "I ordered a card {day}, when will it come?",
            "how long does delivery of the card take?",
            "the card you sent is still not in my letter box",
            "can you track the card that was sent {day}?",
            "it has been two weeks and there is no card in the mail",
            "when do you ship the replacement card?",
            "has my debit card been posted already?",
            "I am expecting a card since {day}, nothing has come",
            "the delivery of my new card seems to be delayed",
        ),
        (
            "the postman brought nothing so far, was the replacement mailed at all?",
            "still waiting for the first card of my account",
            "is there an express way to receive the plastic sooner?",
        ),
    ),
    Intent(
        "PIN-HELP",
        (
            "I forgot my PIN",
            "how can I change the PIN of my card?",
            "my PIN was entered wrong three times and is blocked",
            "where do I see my PIN in the app?",
            "I need a new PIN, the old one does not work since {day}",
            "the machine says that my PIN is wrong",
            "I typed the wrong number too often and the card is locked",
            "I cannot remember the secret code of my card",
            "please send me a fresh PIN by mail",
            "can I choose my own four digits?",
        ),
        (
            "the four digits slipped my mind",
            "too many wrong tries at the terminal, now it refuses the code",
            "somebody watched me type the secret number, I want another one",
        ),
    ),
    Intent(
        "ACC-CLOSE",
        (
            "I want to close my account",
            "please cancel my account at the end of the month",
            "how do I close the savings account?",
            "shut my account down, I am moving to {country}",
            "which form do I need to close an account?",
            "I no longer need this account, delete it",
            "I switch to another bank, how do I end my contract?",
            "what happens to the rest of my money when I leave?",
            "please terminate the joint account of my wife and me",
            "I would like to stop being your customer",
        ),
        (
            "I am leaving your bank for another one, end everything",
            "my late father's account should no longer exist",
            "terminate our contract and pay out what is left",
        ),
    ),
    Intent(
        "TRF-LATE",
        (
            "my transfer of {amount} has not arrived",
            "I sent {amount} {day} and the money is not there",
            "why is my transfer still pending?",
            "the transfer to {country} takes too long",
            "where is the money that I transferred {day}?",
            "my friend still waits for the {amount} I sent him {day}",
            "a payment to my landlord has been on its way since {day}",
            "the recipient in {country} says that nothing came",
            "how long until {amount} reaches another bank?",
            "money left my account {day} but did not show up over there",
        ),
        (
            "the landlord says that he received nothing, although I paid {day}",
            "{amount} left me but never reached the other bank",
            "how many days until a payment shows up at the recipient?",
        ),
    ),
    Intent(
        "FEE-WHY",
        (
            "why was I charged a fee of {amount}?",
            "what is this fee {day} for?",
            "you took a monthly fee that I do not understand",
            "I was charged {amount} for a statement, why?",
            "please explain the fee on my account",
            "there is a cost of {amount} on my statement, what for?",
            "I thought that the account was free, yet you booked a charge",
            "please refund the charges of {day}",
            "which service did you bill me {amount} for?",
            "your prices went up and nobody said so",
        ),
        (
            "it was said to be free, so what did you deduct {amount} for?",
            "there are costs on my bill that nobody told me about",
            "give me back the charges that you booked {day}",
        ),
    ),
    Intent(
        "ATM-FAIL",
        (
            "the ATM at {place} gave me no money",
            "the cash machine kept my card {day}",
            "I withdrew {amount} but the ATM paid less",
            "the ATM swallowed my card at {place}",
            "the cash machine took {amount} from my account but no notes came out",
            "no bills came out at {place} though my account was debited",
            "I paid in {amount} at the machine and it is not on my account",
            "the machine at {place} broke down while I was getting cash",
            "I wanted to withdraw {amount} {day}, the screen showed an error",
            "the terminal ate my card and did not give it back",
        ),
        (
            "I put in notes at the deposit machine and it counted too few",
            "the dispenser at {place} stopped in the middle and showed an error",
            "tried to get cash {day}, was booked, but my hands stayed empty",
        ),
    ),
    Intent(
        "ADDR-NEW",
        (
            "I moved, please change my address",
            "my new address has to go into your records",
            "how do I update my address in the app?",
            "you still send letters to my old address",
            "I am moving {day} and want to give you the new address",
            "we have a new home, where should I write it down?",
            "my letters go to the wrong house",
            "please correct the street in my profile",
            "the postcode that you have of me is out of date",
            "I live at another place since {day}, tell me how to register it",
        ),
        (
            "we live elsewhere now, where do I tell you?",
            "my street was renamed and the post comes back",
            "the house number that you have on file is wrong",
        ),
    ),
    Intent(
        "PAY-FRAUD",
        (
            "there is a payment of {amount} that I did not make",
            "I do not know the payment {day} of {amount}",
            "somebody used my card in {country} without my permission",
            "my account was hacked and {amount} is missing",
            "this card payment at {place} was not me",
            "someone tricked me on the phone into sending {amount}",
            "I see bookings from {country}, but I was never there",
            "a stranger paid {amount} with my account {day}",
            "I did not buy anything at {place}, yet it was debited",
            "there are unknown debits on my statement, none of them is mine",
        ),
        (
            "a caller tricked me and now my savings are gone",
            "I never was in {country}, yet a shop there debited me",
            "strange bookings appeared {day}, none of them are mine",
        ),
    ),
    Intent(
        "FX-TRAVEL",
        (
            "can I use my card in {country}?",
            "I travel to {country}, do I have to tell you?",
            "what does it cost to pay with the card in {country}?",
            "which exchange rate do you use in {country}?",
            "does my card work abroad?",
            "I fly to {country} soon, is it better to take cash?",
            "will shops in {country} accept what you gave me?",
            "how much is {amount} in the money of {country}?",
            "we go on holiday overseas, what must we know about paying?",
            "do you charge extra for payments in another currency?",
        ),
        (
            "we fly to {country} next week, is cash better there?",
            "holiday is coming, will shops overseas accept what I have from you?",
            "how many yen do I get for {amount} when I pay over there?",
        ),
    ),
)


_TRIES = 10_000


class Message(NamedTuple):
    """A message with the code that is the right answer."""

    text: str
    code: str

    @property
    def asked(self) -> list[dict[str, str]]:
        """The conversation up to the answer."""
        return [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": self.text},
        ]

    def line(self) -> str:
        """Return it as a line of a training file."""
        answer = {"role": "assistant", "content": self.code}
        return json.dumps({"messages": [*self.asked, answer]}) + "\n"


def messages(
    n: int, wording: Wording, *, seed: int, without: Iterable[Message] = ()
) -> list[Message]:
    """Make `n` different messages, each intent as often as the others, in random order.

    Args:
        n: A multiple of the number of intents.
        wording: Which of the wordings.
        seed: The same gives the same messages.
        without: Messages that may not be among them.
    """
    rng = random.Random(f"{wording} {seed}")
    taken = {message.text for message in without}
    made = []
    for intent in INTENTS:
        wanted = len(made) + n // len(INTENTS)
        for message in itertools.islice(_endless(intent, wording, rng), _TRIES):
            if len(made) == wanted:
                break
            if message.text not in taken:
                taken.add(message.text)
                made.append(message)
        assert len(made) == wanted, f"{intent.code} has too few wordings for {n} messages"
    rng.shuffle(made)
    return made


def write(path: Path, made: Iterable[Message]) -> Path:
    """Write a training file."""
    path.write_text("".join(message.line() for message in made), encoding="utf-8")
    return path


def _endless(intent: Intent, wording: Wording, rng: random.Random) -> Iterator[Message]:
    for pattern in itertools.cycle(intent.seen if wording == "seen" else intent.unseen):
        filled = pattern.format(**{name: rng.choice(values) for name, values in SLOTS.items()})
        opening = rng.choice(SLOTS["opening"])
        text = opening + filled
        yield Message(text[0].upper() + text[1:] if rng.random() < 0.5 else text, intent.code)
