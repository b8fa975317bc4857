"""`ai8xsim explain`: documentation of a key of the language or of a diagnostic code."""

from types import MappingProxyType

import click

from ai8xsim.cli.output import wrapped
from ai8xsim.codes import CODES, Code
from ai8xsim.diagnostics import closest

SCOPES = MappingProxyType(
    {
        "global": "at the top",
        "layer": "in a layer",
        "data_buffer": "in `data_buffer`",
        "unload": "in `unload`",
    }
)


@click.command()
@click.argument("word", metavar="[CODE-OR-KEY]", required=False)
def explain(word: str | None) -> None:
    """Say what a diagnostic code or a key of the language means; without a word list them all."""
    from ai8xsim.network.keys import TABLES, Key

    keys = [(table, key) for table, rows in TABLES.items() for key in rows.values()]
    if word is None:
        click.echo("\n\n".join(_list(table, [key.name for t, key in keys if t == table]) for table in TABLES))
        click.echo("\n" + _list("codes", list(CODES)))
        return
    found = [_key_page(table, key) for table, key in keys if word.lower() in key.spellings]
    found += [_code_page(CODES[word.lower()])] if word.lower() in CODES else []
    if not found:
        known = [spelling for _, key in keys if isinstance(key, Key) for spelling in key.spellings]
        meant = closest(word, [*known, *CODES])
        hint = f"; did you mean `{meant}`?" if meant else "; `ai8xsim explain` lists all keys and codes"
        raise click.UsageError(f"`{word}` is neither a key nor a code{hint}")
    click.echo("\n\n".join(found))


def _list(title: str, names: list[str]) -> str:
    heading = f"keys {SCOPES[title]}" if title in SCOPES else "diagnostic codes"
    return f"{heading}:\n" + wrapped(", ".join(names), 96, "  ", "  ")


def _key_page(table: str, key: object) -> str:
    from ai8xsim.network.keys import Key

    assert isinstance(key, Key)
    rows = [
        ("takes", key.type.describe()),
        ("default", key.default),
        ("synonyms", ", ".join(key.synonyms)),
        ("device", key.scope),
    ]
    lines = [f"{key.name} ({SCOPES[table]})", wrapped(key.summary, 96, "  ", "  ")]
    lines += [wrapped(f"{title}: {text}", 96, "  ", "    ") for title, text in rows if text]
    lines += ["  example:", *(f"    {line}" for line in key.example.splitlines())]
    return "\n".join(lines)


def _code_page(code: Code) -> str:
    rows = (("why", code.why), ("mend", code.mend), ("source", code.source))
    body = [wrapped(f"{title}: {text}", 96, "  ", "    ") for title, text in rows]
    return "\n".join([f"{code.name}", wrapped(code.what, 96, "  ", "  "), *body])
