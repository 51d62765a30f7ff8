"""`dane-radius policy`: examine, explain, test, compare, upgrade and replay policies."""

from __future__ import annotations

import click

from dane_radius.cli.common import print_json
from dane_radius.cli.policy_check import check_policy
from dane_radius.cli.policy_diff import diff, upgrade_file
from dane_radius.cli.policy_explain import explain_name
from dane_radius.cli.policy_replay import replay
from dane_radius.cli.policy_test import run_tests
from policy import json_schema
from policy.analysis import EXAMPLES, example_file


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def policy() -> None:
    """Examine, test and compare policy files. Nothing here needs the DNS, or a running server.

    \b
    dane-radius policy check                               find mistakes in the installed policy
    dane-radius policy explain a1.camera._device.example.net --ssid iot
    dane-radius policy test policy.yaml --junit report.xml run the example cases of the file
    dane-radius policy diff old.yaml new.yaml              what changes, in words
    dane-radius policy replay --log decisions.log new.yaml who would lose, gain or change access
    dane-radius policy upgrade policy.yaml                 rewrite a file of version 1
    dane-radius policy example home                        print a ready-made policy
    dane-radius policy schema >policy-2.schema.json        print the JSON Schema, for editors
    """


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False, type=click.Choice(sorted(EXAMPLES)))
@click.option("--path", "as_path", is_flag=True, help="Print where the file is. Its device lists are beside it.")
def example(name: str | None, as_path: bool) -> None:
    """Print a ready-made policy; without NAME, list them.

    \b
    Example:
      dane-radius policy example home >policy.yaml
      cp -r "$(dirname "$(dane-radius policy example home --path)")"/* /etc/dane-radius/
    """
    if name is None:
        for each, text in EXAMPLES.items():
            click.echo(f"{each:8} {text}")
    elif as_path:
        click.echo(str(example_file(name)))
    else:
        click.echo(example_file(name).read_text(), nl=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def schema() -> None:
    """Print the JSON Schema of policy files of version 2. Editors use it for completion and to mark mistakes.

    \b
    Example:
      dane-radius policy schema >policy-2.schema.json
    """
    print_json(json_schema())


for command in (check_policy, explain_name, run_tests, diff, replay, upgrade_file, example, schema):
    policy.add_command(command)
