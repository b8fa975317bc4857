"""`ai8xsim schema`: the JSON Schema of the description language."""

import click

from ai8xsim.cli.output import print_json


@click.command()
def schema() -> None:
    """Print a JSON Schema (draft 7) of network descriptions, for editors."""
    from ai8xsim.network.schema import json_schema

    print_json(json_schema())
