"""Many graders' rewards as one: the formula of a multi grader."""

from collections import Counter
from collections.abc import Mapping

from jobs.graders.formula import (
    FormulaError,
    NotComputable,
    UnknownName,
    evaluate,
    parse_formula,
)
from jobs.graders.outcome import Outcome, merged_errors, merged_usage
from schemas.graders import MultiGrader


def variable_names(grader: MultiGrader) -> dict[str, str]:
    """Return which grader each variable of the formula stands for.

    The key or name of a grader; where they came without keys also `string_check_score` and its like, as in OpenAI's
    example of a list, for a type that is there once.
    """
    named = grader.named()
    variables = {key: key for key in named}
    if not isinstance(grader.graders, dict):
        counts = Counter(part.type for part in named.values())
        for key, part in named.items():
            if counts[part.type] == 1:
                variables.setdefault(f"{part.type}_score", key)
    return variables


def combine(grader: MultiGrader, outcomes: Mapping[str, Outcome]) -> Outcome:
    """Compute the formula; where that fails, the reward is 0 and the errors say so."""
    merged = merged_errors([*outcomes.values()])
    rewards = {key: outcome.reward for key, outcome in outcomes.items()}
    variables = {name: rewards[key] for name, key in variable_names(grader).items()}
    reward, failed = 0.0, ""
    try:
        reward = evaluate(parse_formula(grader.calculate_output), variables)
    except FormulaError:
        failed = "formula_parse_error"
    except UnknownName:
        failed = "invalid_variable_error"
    except NotComputable:
        failed = "other_error"
    models = [outcome.model for outcome in outcomes.values() if outcome.model is not None]
    return Outcome(
        reward=reward,
        errors=merged.model_copy(update={failed: True}) if failed else merged,
        scores=rewards,
        usage=merged_usage([*outcomes.values()]),
        model=models[-1] if models else None,
    )
