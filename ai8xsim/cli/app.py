"""The commands and what becomes of a fault: 1 in the content, 2 in the usage or a file, 3 in ai8xsim itself."""

import io
import sys
import traceback

import click

from ai8xsim.cli.check import check
from ai8xsim.cli.check_data import check_data
from ai8xsim.cli.compare import compare
from ai8xsim.cli.demo import demo
from ai8xsim.cli.evaluate import evaluate
from ai8xsim.cli.explain import explain
from ai8xsim.cli.output import show_diagnostics
from ai8xsim.cli.quantize import quantize
from ai8xsim.cli.schema import schema
from ai8xsim.cli.simulate import simulate
from ai8xsim.cli.train import train
from ai8xsim.errors import Ai8xsimError
from ai8xsim.version import __version__

CONTENT, USAGE, BUG, INTERRUPTED = 1, 2, 3, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ai8xsim")
def cli() -> None:
    """Know before synthesis what the CNN accelerator of a MAX78000 or MAX78002 will compute, bit for bit."""


cli.add_command(check)
cli.add_command(check_data)
cli.add_command(compare)
cli.add_command(demo)
cli.add_command(evaluate)
cli.add_command(explain)
cli.add_command(quantize)
cli.add_command(schema)
cli.add_command(simulate)
cli.add_command(train)


def main() -> None:
    """Run the command line; never returns."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of another alphabet is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(standalone_mode=False) or 0
    except Ai8xsimError as fault:
        show_diagnostics(fault.diagnostics)
        code = CONTENT
    except click.ClickException as fault:
        fault.show()
        code = USAGE
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; Python would complain once more
        code = CONTENT
    except OSError as fault:
        click.echo(f"error: {fault.filename or 'file'}: {fault.strerror or fault}", err=True)
        code = USAGE
    except Exception:
        traceback.print_exc()
        click.echo("error: this is a bug of ai8xsim; please report it with the lines above", err=True)
        code = BUG
    sys.exit(code)
