"""What is known of a behaviour's grader, and what it allows its verdict to say.

Belongs here: marks that stand beside a verdict, and graders that cannot gate. Does not: counting
(flows), the decision on rates (gates), rates behind an imperfect grader (four_rates).

A ratio of two arms says nothing of the release where the same answer comes whatever is asked: a
judge that says yes to everything gives a ratio of 1 with any number of events.
"""

from collections.abc import Iterator
from dataclasses import dataclass

ENOUGH = 30  # labels over all arms before equal ones mean anything
ENOUGH_KNOWN = 5  # labels from people on one side that a grader never gives, before they refuse it
ENOUGH_AGREED = 10  # labels from people that make "yes to everything" believable
ENOUGH_TWICE = 10
MUCH_DISAGREEMENT = 0.05  # share of what was asked more than once with two answers


@dataclass(frozen=True)
class GraderEvidence:
    """Counts of one behaviour in one release, over all arms; none of them is weighted."""

    is_judged: bool = False  # a language model decides
    n_yes: int = 0
    n_no: int = 0
    # of what a judge was asked itself, behind a screen or beside other graders
    judge_yes: int = 0
    judge_no: int = 0
    n_twice: int = 0  # responses that it labelled more than once
    n_differ: int = 0  # of these, with two labels
    # of outcomes that this grader labelled and people too
    people_yes: int = 0
    people_no: int = 0

    @property
    def cannot_gate(self) -> str | None:
        """Why no verdict may rest on the grader; None where one may.

        A judge that said yes to everything cannot gate, unless people found the behaviour in all
        of at least 10 outcomes. No grader can that gives one label alone where people gave the
        other to at least 5 outcomes.
        """
        said = _constant(self.n_yes, self.n_no)
        if said is None:
            return None
        other, never = (self.people_no, "no") if said == "yes" else (self.people_yes, "yes")
        known = self.people_yes + self.people_no
        is_agreed = not other and known >= ENOUGH_AGREED
        if other < ENOUGH_KNOWN and not (said == "yes" and self.is_judged and not is_agreed):
            return None
        people = f", people said {never} of {other} of {known}" if other else ""
        return (
            f"its {'judge' if self.is_judged else 'grader'} said {said} to all"
            f" {self.n_yes + self.n_no:,} outcomes{people}: what never says {never} cannot gate"
        )

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader of the verdict should know of the grader."""
        return tuple(self._marks())

    def _marks(self) -> Iterator[str]:
        if not self.people_yes + self.people_no:
            yield "no labels from people"
        if said := _constant(self.n_yes, self.n_no):
            yield f"said {said} to all {self.n_yes + self.n_no:,} outcomes"
        elif said := _constant(self.judge_yes, self.judge_no):
            n = self.judge_yes + self.judge_no
            yield f"its judge said {said} to all {n:,} that it was asked about"
        if self.n_twice >= ENOUGH_TWICE and self.n_differ > MUCH_DISAGREEMENT * self.n_twice:
            yield f"disagreed with itself on {self.n_differ:,} of {self.n_twice:,} asked again"


def _constant(n_yes: int, n_no: int) -> str | None:
    """What was said to everything, where that was enough."""
    if n_yes + n_no < ENOUGH or (n_yes and n_no):
        return None
    return "yes" if n_yes else "no"
