"""What a run may still spend.

Belongs here: counting dollars and tokens against limits. Does not: prices (providers), what was spent before (the caller).
"""

from dataclasses import dataclass


@dataclass
class Budget:
    """Limits of one run, None for unlimited. What was spent in earlier runs of a release is already taken off by the caller."""

    max_usd: float | None = None
    max_tokens: int | None = None
    usd: float = 0.0
    tokens: int = 0

    def spend(self, usd: float, tokens: int) -> None:
        """Counts a response, useful or not."""
        self.usd += usd
        self.tokens += tokens

    @property
    def used_up(self) -> str | None:
        """The limit that is reached, in words; None while there is something left."""
        if self.max_usd is not None and self.usd >= self.max_usd:
            return f"max_usd: {self.usd:.4f} of {self.max_usd:.4f} US dollars are spent"
        if self.max_tokens is not None and self.tokens >= self.max_tokens:
            return f"max_tokens: {self.tokens} of {self.max_tokens} tokens are spent"
        return None
