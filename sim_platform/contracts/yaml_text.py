"""YAML of files that people wrote, read so that no text ends the process.

Belongs here: text to plain objects, with limits. Does not: what a file must hold (registry,
deidentification.policies, warehouse.sql_models).
"""

import yaml

MAX_DEPTH = 100
"""Levels of lists and maps; the parser recurses in C and would end the process further down."""


def parsed_yaml(text: str) -> object:
    """The object that a text stands for; safe tags only.

    Raises:
        yaml.YAMLError: not YAML, nested too deep, or a value that its tag does not allow (the 31st
            of February).
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):  # a parser of its own, which is flat
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {MAX_DEPTH} levels deep",
                problem_mark=event.start_mark,  # type: ignore[arg-type]  # libyaml's own kind of mark, with the same fields
            )
    try:
        # ten times as fast as yaml.safe_load; every asset reads the home
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # its text quotes the value
        raise yaml.MarkedYAMLError(
            problem=f"a value is not what it says that it is ({type(error).__name__})"
        ) from None
