"""What customers of a shop and a bank write about: our own sentences, as patterns that unfold into many wordings.

In a pattern `[a|b]` stands for one of its parts, chosen anew each time, and `{item}` for a word of `nano_corpus.SLOTS`.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Topic:
    """Something that people write to a service about."""

    name: str
    """As an assistant would call it: `a lost card`."""
    sayings: tuple[str, ...]
    """What a customer writes; whole sentences."""
    replies: tuple[str, ...]
    """What the service answers."""


SHOP: Final = (
    Topic(
        "a late delivery",
        (
            "[My|The] {item} [has not arrived yet|is still not here|did not come|is late]",
            "[Where is|What happened to|When will I get] my [parcel|package|{item}|order]?",
            "I [have been waiting|am still waiting|wait] for my {item} [since last week|for ten days|for too long]",
            "The [tracking page|tracking] [has not moved|says nothing new|shows no progress] [for days|since monday]",
            "The [courier|driver|postman] [never came|did not ring|left nothing] [today|yesterday|at all]",
            "[Can you track|Please track|Could you find] the [delivery|parcel|shipment] with my {item}?",
            "My [delivery|shipment] [should have come|was due|was promised] [yesterday|last friday|two days ago]",
        ),
        (
            "I will look where your {item} is. Please send me the order number.",
            "I am sorry for the delay. Let me ask the courier about your {item}.",
        ),
    ),
    Topic(
        "cancelling an order",
        (
            "[Please cancel|I want to cancel|Can you cancel] [my order|the order for the {item}|what I ordered today]",
            "I [ordered|bought] the {item} by [mistake|accident], [please stop it|do not send it]",
            "I [changed my mind|do not want it any more], [please do not ship|stop] the {item}",
            "[Stop|Withdraw|Undo] my [purchase|order] [before it ships|right away|if you still can]",
            "I placed the same order twice, [one of them can go|please drop one]",
            "The {item} is [no longer needed|cheaper elsewhere], so [cancel it|I withdraw the order]",
        ),
        (
            "I can cancel the order for your {item} if it has not shipped.",
            "The order is stopped. You will not be charged for the {item}.",
        ),
    ),
    Topic(
        "returning an item",
        (
            "I [want|would like|need] to [return|send back|give back] [my|the|this] {item}",
            "[How do I|How can I|Where can I] [return|send back|bring back] [a|the|my] {item}?",
            "The {item} is [not for me|not what I expected|ugly|useless], [can it go back|I want to send it back]",
            "[Please send|I need|Can I get] a return label for [the|my] {item}",
            "I do not [like|want to keep] the {item} and [it has to go back|would like to return it]",
        ),
        (
            "You can return the {item} within thirty days. I will send you a label.",
            "No problem. Here is how to send the {item} back to us.",
        ),
    ),
    Topic(
        "a missing refund",
        (
            "[Where is my refund|When do I get my money back|What about my refund]?",
            "I [returned|sent back] the {item} [weeks ago|long ago|in {month}] and [got no money|have seen no refund]",
            "My refund [has not arrived|is missing|never came|takes too long]",
            "You [promised|owe] me a refund [for the {item}|of {amount}], but [nothing came|I see nothing]",
            "The money for the [returned|cancelled] {item} is [still not back|not on my account]",
        ),
        (
            "A refund takes up to five working days. I will check yours.",
            "Let me see where the refund for your {item} is.",
        ),
    ),
    Topic(
        "a damaged item",
        (
            "[My|The|The new] {item} [arrived|came|was delivered] [broken|damaged|with a crack|in pieces|scratched]",
            "There is a [big|deep|long] [crack|scratch|dent|hole] in [my|the] new {item}",
            "The {item} [fell apart|broke] when I [opened the box|took it out|touched it]",
            "The box was [wet|crushed|torn] and the {item} is [damaged|broken|ruined]",
            "I [got|received] a [broken|damaged|smashed] {item}, [please help|what now|I want a new one]",
        ),
        (
            "I am sorry that your {item} is damaged. Please send me a photo.",
            "That should not happen. I will send you a new {item}.",
        ),
    ),
    Topic(
        "receiving the wrong product",
        (
            "You [sent|delivered|gave] me the wrong [product|thing|article], [not the {item}|I ordered a {item}]",
            "I ordered a {item} [but got|and received|and found] [something else|another thing|a different product]",
            "This is not the {item} [I ordered|that I chose|from my order]",
            "[There was|I found] [somebody else's order|another product] in [my parcel|the box]",
            "The [color|size] is [wrong|not the one I ordered], I [asked for|wanted] a {color} {item}",
        ),
        (
            "I am sorry about the mix up. I will send you the right {item}.",
            "Please keep the wrong product until we collect it.",
        ),
    ),
    Topic(
        "a missing part",
        (
            "[One thing|A part|A piece|The cable|The charger] is missing [from my parcel|in the box|from the order]",
            "I got only [half|a part] of my order, [the {item} is not there|where is the rest]",
            "The [box|package|parcel] with the {item} was [incomplete|half empty|not complete]",
            "You forgot to [pack|send|include] the [manual|charger|cable|screws]",
        ),
        (
            "I am sorry that something was missing. I will send it today.",
            "Let me check what was packed with your {item}.",
        ),
    ),
    Topic(
        "an item out of stock",
        (
            "[When will|Will] the {item} be [available|back|in stock] again?",
            "The {item} is [sold out|out of stock|gone], [when can I buy it|do you get more]?",
            "Do you [have|sell] the {item} in {color}?",
            "[Do you know if|Can you tell me if] the {item} is [in stock|there] in [your shop|the shop in {city}]?",
        ),
        (
            "The {item} will be back in stock soon.",
            "Let me check if we have the {item} in {city}.",
        ),
    ),
    Topic(
        "a voucher",
        (
            "My [gift card|voucher|discount code|coupon] [does not work|is refused|is not accepted]",
            "[How do I|Where can I|Can I] [use|enter|redeem] [a gift card|my voucher|the discount code]?",
            "The [voucher|coupon|gift card] from {name} [has expired|is empty|shows an error]",
            "I [got|was given] a [gift card|voucher] and [cannot use it|want to know what is left on it]",
        ),
        (
            "I can check the voucher. Please send me its number.",
            "The gift card is good for one year.",
        ),
    ),
    Topic(
        "the opening hours",
        (
            "[When|At what time|Until when] [do you open|do you close|are you open] [today|on sunday|on saturday]?",
            "Is the [shop|branch|office] in {city} open [today|in the evening|on holidays]?",
            "The [shop|branch|store] in {city} was closed [when I came|this morning], [what are the hours|why]?",
            "What are your [opening|business] hours [in {city}|on weekends]?",
        ),
        (
            "The branch in {city} is open from nine to six.",
            "We are open every day but sunday.",
        ),
    ),
    Topic(
        "a complaint about staff",
        (
            "[Your employee|Your clerk|The driver|The man at the desk] was [very rude|unfriendly|shouting at me]",
            "I want to [complain about|report] [your staff|a rude agent|the service in {city}]",
            "Nobody in [the shop|your branch] [wanted to help|listened to me|cared]",
            "The agent on the phone [hung up on me|laughed at me|was no help]",
        ),
        (
            "I am very sorry about this. I will tell the manager.",
            "Thank you for telling us. We will talk to the employee.",
        ),
    ),
    Topic(
        "talking to a person",
        (
            "[I want to|I need to|Let me|Can I] [talk|speak] [to|with] a [human|real person|person|colleague]",
            "[This bot|The robot] does not understand me, [give me a person|connect me with someone]",
            "[Please connect me|Put me through] [with|to] [an agent|a human|your support team]",
            "[Is there|Do you have] a phone number [to call|where a person answers]?",
        ),
        (
            "I will connect you with a colleague.",
            "A person from our team will call you soon.",
        ),
    ),
    Topic(
        "an invoice",
        (
            "[I need|Please send me|Can I get|Where is] [an invoice|the invoice|a receipt|the bill] for [my|the] {item}",
            "My [company|accountant|boss] [needs|wants] [an invoice|a receipt] [for the {item}|for my order]",
            "I cannot [find|download|print] my [invoice|receipt|bill]",
        ),
        (
            "I will send you the invoice for your {item} by email.",
            "You find every invoice under your orders.",
        ),
    ),
)

BANK: Final = (
    Topic(
        "a lost card",
        (
            "I [lost|have lost|cannot find|misplaced] my [card|bank card|credit card|debit card|wallet with the card]",
            "My [card|wallet|purse|bag] [was stolen|is gone|got stolen] [in {city}|on the train|last night|today]",
            "[Somebody|A thief|Someone] [took|stole] my [card|wallet|purse|credit card]",
            "[Please block|Block|Freeze|Lock] my [card|credit card], [it is gone|I lost it|it was stolen]",
            "I [left|forgot|dropped] my card [in a shop|in a taxi|somewhere|on the bus]",
            "My card [is nowhere|has disappeared|fell out of my pocket], [what should I do|stop it please]",
        ),
        (
            "I have blocked the card. A new one is on its way.",
            "I am sorry. Your card is now blocked, nobody can use it.",
        ),
    ),
    Topic(
        "a card that has not arrived",
        (
            "My [new|first|replacement] card [has not arrived|is not here yet|did not come|is late]",
            "[When|How soon] [will|does] my [new|replacement] card [arrive|come|get here]?",
            "I [ordered|was promised] a [new card|card] [two weeks ago|in {month}] and [am still waiting|nothing came]",
            "I [am waiting|have waited] for [the card|my new bank card] [in the mail|in the post|for weeks]",
            "[Did you send|Have you posted|Where is] the [new card|card that I ordered|replacement card]?",
        ),
        (
            "A new card takes about seven days. I will check when it was sent.",
            "Your card was sent last week. It should arrive soon.",
        ),
    ),
    Topic(
        "a forgotten pin",
        (
            "I [forgot|do not remember|cannot remember|have forgotten] [my pin|the pin of my card|my secret number]",
            "I [typed|entered] [the wrong pin|a wrong number] [three times|too often] and [it is blocked|it is locked]",
            "[How do I|Where can I|Can I] [change|reset|choose|see] [my pin|the pin of my card]?",
            "My pin [does not work|is wrong|is blocked|was refused] [at the machine|in the shop|any more]",
            "[Please send|I need|Give me] a new pin [for my card|please]",
        ),
        (
            "You can see your pin in the app, under your card.",
            "I will send you a new pin by post.",
        ),
    ),
    Topic(
        "an unknown payment",
        (
            "There is a [payment|charge|debit] of {amount} [I do not know|I did not make|that is not mine]",
            "[Somebody|Someone] [used|is using] my [card|account|card number] [without asking|to buy things]",
            "I [never|did not] [bought|buy|order|pay for] [this|anything there], [why is there a charge|who took my money]",
            "I do not recognise [a payment|the charge|this transaction] [of {amount}|from {day}|in {city}]",
            "[This looks like|I think this is|Is this] fraud, [a shop in {city}|a strange company] took {amount}",
        ),
        (
            "I will block the card and look into that payment.",
            "Thank you for telling us. We will get the money back if it was not you.",
        ),
    ),
    Topic(
        "being charged twice",
        (
            "I was [charged|billed|debited] [twice|two times|double] [for the {item}|for one thing|in the same shop]",
            "You took [the money|{amount}] [twice|two times]",
            "The same [payment|amount|charge] [is there twice|shows up two times|was booked double]",
            "I see two [payments|charges|debits] of {amount} [for one {item}|on {day}|on my statement]",
            "I paid [once|one time] but [see it twice|the bank took it double]",
        ),
        (
            "I see both charges. I will return the second one.",
            "I am sorry about the double charge. You get {amount} back.",
        ),
    ),
    Topic(
        "a missing transfer",
        (
            "My [transfer|payment] to {name} [has not arrived|is not there|never came|is missing|is still pending]",
            "I [sent|transferred|wired] {amount} to {name} and [it did not arrive|nothing came|the money is not there]",
            "[Where is|What happened to] the [money|transfer] [I sent|to {name}|from {day}]?",
            "[How long|How many days] does a transfer [take|need] [to arrive|to another bank]?",
            "{name} [did not get|has not received|is waiting for] [the money|my transfer|the {amount} I sent]",
        ),
        (
            "A transfer takes one or two days. I will see where yours is.",
            "Your transfer to {name} is on its way.",
        ),
    ),
    Topic(
        "a fee",
        (
            "Why [was I charged|did you charge|do I pay|is there] a fee [of {amount}|on my account|this month]?",
            "[What is|What are] [this fee|the fees|these costs] [for|about]?",
            "You took a fee [for a transfer|for my account|of {amount}], [why|I was not told|please give it back]",
            "[How much|What] does [the account|a transfer|the card] cost [a month|a year]?",
            "I do not [understand|accept|agree with] the [extra fee|fees|monthly charge]",
        ),
        (
            "The fee is for the card. I can explain it to you.",
            "The account costs nothing if you get your salary here.",
        ),
    ),
    Topic(
        "a cash machine",
        (
            "The [cash machine|atm|machine] [kept|swallowed|ate|took] my card [in {city}|this morning|today]",
            "The [atm|cash machine] [gave|paid out] [no money|too little|nothing], but [I was charged|it is booked]",
            "I [wanted|tried] to [withdraw|take out|get] {amount} [in cash|at the atm] and [no money came out|it failed]",
            "The machine [counted|gave me] the wrong [amount|sum] [of cash|when I withdrew money]",
            "[Where can I|Where do I] [get cash|find a cash machine|withdraw money] [in {city}|near me]?",
        ),
        (
            "I am sorry. We will check the machine and book the money back.",
            "There is a cash machine near the station.",
        ),
    ),
    Topic(
        "a new address",
        (
            "I [moved|have moved|am moving] to {city}, [please change my address|here is my new address]",
            "[How do I|Where can I|Can you] [change|update|correct] my [address|home address|street]?",
            "My [address|street|post code] [is wrong|has changed|is not right any more]",
            "[Please send|Send] my [letters|mail|statements] to my new [address|home|flat] [in {city}|from now on]",
            "We [live|are living] in {city} now, so [the old address is wrong|you need our new address]",
        ),
        (
            "I have changed your address to {city}.",
            "Please tell me your new street and the post code.",
        ),
    ),
    Topic(
        "closing an account",
        (
            "I [want|would like|wish] to [close|end|cancel|delete] my [account|bank account|contract with you]",
            "[Please close|Close|Delete|Shut down] my account [for good|today|at once]",
            "I [am leaving|leave|am changing to another bank], [please close everything|close my account]",
            "I do not [need|use|want] [my|this|the] account any more",
            "[How do I|What must I do to] [close|get rid of|end] [my|an|the] account?",
        ),
        (
            "I can close your account. Where should we send the rest of the money?",
            "I am sorry to see you go. Your account will be closed.",
        ),
    ),
    Topic(
        "using the card abroad",
        (
            "[Can I|May I|How do I] [use|pay with] my card [in {country}|abroad|on holiday|in another country]?",
            "I [am travelling|travel|fly|go] to {country} [next week|in {month}|tomorrow], [will my card work|can I pay there]?",
            "[What|Which] exchange rate do you [use|take] [in {country}|for foreign money|abroad]?",
            "What does it cost to [pay|get cash|use my card] in {country}?",
            "My card [does not work|was refused] [in {country}|abroad|on my trip]",
        ),
        (
            "Your card works in {country}. We take no fee for it.",
            "Have a nice trip to {country}! Your card will work there.",
        ),
    ),
    Topic(
        "a refused card",
        (
            "My card [was refused|was declined|did not work|is not accepted] [in the shop|online|at the till]",
            "The [shop|terminal|website] [refuses|declines|does not take] my card",
            "I [cannot|could not] pay [with my card|online|for the {item}], [why|it says declined]",
            "[Why|How come] [is|was] my card [declined|refused|not working] [when there is enough money|today]?",
        ),
        (
            "I see no block on your card. Please try once more.",
            "The shop asked for a code. Please confirm the payment in the app.",
        ),
    ),
    Topic(
        "a forgotten password",
        (
            "I [forgot|lost|do not remember] my password",
            "[How do I|Please help me to|I want to] [reset|change|recover] my password",
            "My password [does not work|is wrong|is not accepted] [any more|since today]",
            "The [reset|password] [email|link] [never came|has expired|does not work]",
        ),
        (
            "I will send you a link to choose a new password.",
            "You can change the password on the login page.",
        ),
    ),
    Topic(
        "a crash of the app",
        (
            "[The|Your] app [crashes|freezes|closes|stops] [all the time|on my phone|when I open it|after the update]",
            "The app [does not open|shows a white screen|will not start|is very slow]",
            "I cannot [open|use|start] [your|the] app [any more|since the update|on my new phone]",
        ),
        (
            "Please update the app and start your phone again.",
            "I am sorry that the app crashes. Which phone do you have?",
        ),
    ),
    Topic(
        "a loan",
        (
            "[Can I|How can I|I want to] [get|take|have] a loan [of {amount}|for a house|for a car]?",
            "What [interest|rate] do you take for a loan [of {amount}|for a house|today]?",
            "I would like to [borrow|get] {amount} [for my house|for a new car|for two years]",
            "[Can I pay|I want to pay] [back my loan|my credit back] [early|sooner]?",
        ),
        (
            "We have loans from two to ten years. How much do you need?",
            "You can pay your loan back at any time.",
        ),
    ),
    Topic(
        "a limit",
        (
            "[Please raise|Can you raise|I want to raise|Increase] [my|the] [limit|card limit|daily limit]",
            "[What is|How high is] [my|the] [limit|daily limit] [of my card|for transfers]?",
            "I [cannot|am not able to] [send|pay|withdraw] more than {amount} [a day|at once], [why|change this]",
            "My limit is too [low|small], I need to [pay|send] {amount}",
        ),
        (
            "Your daily limit is now {amount}.",
            "You can change the limit in the app.",
        ),
    ),
    Topic(
        "proving who you are",
        (
            "[How do I|Why must I|Where can I] [prove who I am|verify my identity|show my passport]?",
            "You [asked for|want] [a photo of my passport|my identity card], [why|how do I send it]",
            "My [passport|identity check|photo] was [refused|not accepted|rejected]",
            "The [identity check|verification|video call] [failed|did not work|takes too long]",
        ),
        (
            "Please take a photo of your passport in the app.",
            "We must know who you are before we open the account.",
        ),
    ),
)

TOPICS: Final = SHOP + BANK
