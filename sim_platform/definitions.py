"""What `dagster` loads."""

from sim_platform.orchestration.build import build_definitions

defs = build_definitions()
