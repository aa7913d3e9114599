"""Refuses a run that would embed or cost more than its job allows, before anything is embedded."""

from embed_index.jobs.planning.plan import Plan
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings


def has_limits(settings: JobSettings) -> bool:
    """Say whether a run must be planned before it begins."""
    return settings.max_tokens_embedded is not None or settings.max_cost is not None


def check_limits(plan: Plan, settings: JobSettings) -> None:
    """Compare a plan with what the job allows.

    Raises:
        ConfigurationError: It would be too much, or nobody can tell.
    """
    failure = _too_many_tokens(plan, settings) or _too_dear(plan, settings)
    if failure is not None:
        raise failure


def _too_many_tokens(plan: Plan, settings: JobSettings) -> ConfigurationError | None:
    allowed, tokens = settings.max_tokens_embedded, plan.tokens.value
    if allowed is None or tokens <= allowed:
        return None
    return ConfigurationError(
        f"max_tokens_embedded: {tokens:,.0f} tokens would be embedded, more than the"
        f" {allowed:,} allowed; nothing was done",
        remedy=_LOOK.format(flag="--max-tokens-embedded"),
    )


def _too_dear(plan: Plan, settings: JobSettings) -> ConfigurationError | None:
    allowed, here = settings.max_cost, plan.here
    if allowed is None or not plan.tokens.value:
        return None
    if here.cost is None:
        return ConfigurationError(
            f"max_cost: nobody can tell what this costs on {here.device}, for nothing is known of"
            " its speed",
            remedy="Use max_tokens_embedded, or run once without max_cost: the next run knows.",
        )
    if here.cost <= allowed:
        return None
    return ConfigurationError(
        f"max_cost: this would cost some {here.cost:,.2f} on {here.device}, and {allowed:,.2f} is"
        " allowed; nothing was done",
        remedy=_LOOK.format(flag="--max-cost"),
    )


_LOOK = (
    "See in the plan what is new: perhaps the corpus was exported anew. If all is right, give a"
    " larger {flag} once."
)
