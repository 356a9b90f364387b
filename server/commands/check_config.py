"""Check all settings and show them, secrets hidden."""

import click

from server.cli import load_beside_run


@click.command("check-config")
@click.option("--all", "everything", is_flag=True, help="Show settings left at their defaults, too.")
def command(everything: bool) -> None:
    """Check the settings of the environment and of .env. With a fault it names all of them and ends with
    status 1.

    If no key is set, it checks the settings that `make run` uses: DEBUG, with the development key.

    \b
    Examples:
      python -m server check-config
      python -m server check-config --all
      DEBUG=true PORT=9000 python -m server check-config
    """
    settings, developing = load_beside_run()
    from server.config_rules import notices

    defaults = {name.upper(): field.default for name, field in type(settings).model_fields.items()}
    shown = 0
    for name, value in settings.described().items():
        if everything or getattr(settings, name.lower()) != defaults[name]:
            click.echo(f"{name}={_text(value)}")
            shown += 1
    if developing:
        click.echo(
            "note: JWT_SECRET_KEY is not set: the settings of `make run` are shown, with DEBUG", err=True
        )
    for notice in (*notices(settings), *settings.unknown()):
        click.echo(f"note: {notice}", err=True)
    left = len(defaults) - shown
    click.echo(
        "settings are valid" + (f"; {left} at their defaults (--all shows them)" if left else ""), err=True
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(str(each) for each in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
