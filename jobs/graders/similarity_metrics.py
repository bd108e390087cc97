"""How alike two texts are, from 0 to 1, by the metrics of translation and summarisation.

Runs as a process of its own (`python -m jobs.graders.similarity_metrics`): its libraries take a third of a second
and 50 MB to load, and their pure Python may count for seconds. A server's event loop can afford neither.
"""

import json
import resource
import sys
from typing import Final, Literal

from nltk.tokenize import wordpunct_tokenize
from nltk.translate.gleu_score import sentence_gleu
from nltk.translate.meteor_score import single_meteor_score
from rapidfuzz import fuzz
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import sentence_bleu

Metric = Literal[
    "fuzzy_match", "bleu", "gleu", "meteor",
    "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
]  # fmt: skip

_ROUGE: Final = "rouge_"
_MEMORY_BYTES: Final = 2 * 2**30


class NoSynonyms:
    """In the place of nltk's WordNet, which would have to be downloaded: no word has synonyms."""

    def synsets(self, word: str) -> list[None]:  # noqa: ARG002 - nltk's signature
        """Return none."""
        return []


def similarity(metric: Metric, input: str, reference: str) -> float:
    """Return how alike `input` is to `reference`; 1.0 says that they are the same to this metric.

    - `fuzzy_match`: the share of characters in common order, `rapidfuzz.fuzz.ratio`.
    - `bleu`: sentence BLEU of sacrebleu, its 13a tokens and exponential smoothing.
    - `gleu`: Google's sentence GLEU (Wu et al. 2016), of nltk; words and runs of punctuation are tokens.
    - `meteor`: METEOR of nltk on the same tokens, matching words and their stems. **Not synonyms**: WordNet is no part of
      nltk and is not downloaded, so a paraphrase scores lower than with it, and nothing scores higher.
    - `rouge_1` … `rouge_5`, `rouge_l`: F1 of Google's rouge-score, without stemming.
    """
    if metric == "fuzzy_match":
        return fuzz.ratio(input, reference) / 100
    if metric == "bleu":
        # Rounding can take a perfect match a hair over.
        return min(sentence_bleu(input, [reference]).score / 100, 1.0)
    if metric.startswith(_ROUGE):
        name = "rouge" + metric.removeprefix(_ROUGE).upper()  # rouge1, rougeL
        score: float = RougeScorer([name]).score(reference, input)[name].fmeasure
        return score
    given, wanted = wordpunct_tokenize(input), wordpunct_tokenize(reference)
    if not given or not wanted:
        return float(given == wanted)
    if metric == "gleu":
        return float(sentence_gleu([wanted], given))
    return float(single_meteor_score(wanted, given, wordnet=NoSynonyms()))


def main() -> None:
    """Answer `{metric, input, reference}` on standard input with a number on standard output."""
    # ROUGE-L's table grows with the product of both lengths.
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    json.dump(similarity(**json.load(sys.stdin.buffer)), sys.stdout)


if __name__ == "__main__":
    main()
