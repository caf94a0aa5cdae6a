"""Files that come along with the platform and stand at the top of its repository: SQL models,
Dagster's settings.

Belongs here: where they are. Does not: reading them. A wheel holds them inside of the package, in
the same order (force-include in pyproject.toml); a checkout has them where people look for them.
"""

from importlib.resources import files
from pathlib import Path

_PACKAGE = Path(str(files("sim_platform")))
_IN_A_WHEEL = _PACKAGE / "shipped"
_TOP = _IN_A_WHEEL if _IN_A_WHEEL.is_dir() else _PACKAGE.parent

SQL_MODELS = _TOP / "dbt_like_sql"
DAGSTER_SETTINGS = _TOP / "data" / "dagster_home" / "dagster.yaml"
