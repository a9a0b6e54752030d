"""Fill in the address of the repository, which nothing in the project knows by itself.

    python workflow/repository.py _config.yml --address=ADDRESS > site/_config.yml

Whoever owns an address decides what readers install from it. So only the workflow that publishes gives one, that of
the repository that it runs in (`make book REPOSITORY=https://github.com/...`). Without one the book has no buttons
that lead to a repository, and the notebooks say what to install.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import yaml

#: The publishing workflow puts the notebooks here with the address filled in; Colab opens them from here.
BRANCH = "notebooks"
#: What the first code cell of a chapter does where the package is missing.
MISSING = (
    """    raise ImportError("install wmhqc first: pip install git+ADDRESS of this notebook's repository") from None"""
)


def checked(address: str) -> str:
    """`address` without a slash at its end; refuse what is not the address of a repository."""
    if not re.fullmatch(r"https://[\w.-]+(/[\w.-]+){2,}/?", address):
        raise SystemExit(f"expected the address of a repository, as https://github.com/owner/name, got {address!r}")
    return address.rstrip("/")


def configure(config: dict, address: str) -> dict:
    """The book's configuration with buttons that lead to the repository, if `address` is not empty."""
    if not address:
        return config
    return config | {
        "repository": {"url": checked(address), "branch": BRANCH, "path_to_book": ""},
        "launch_buttons": {"notebook_interface": "jupyterlab", "colab_url": "https://colab.research.google.com"},
        "html": config["html"] | {"use_repository_button": True, "use_issues_button": True},
    }


def install_from(cell: str, address: str) -> str:
    """The first code cell of a chapter with the installation that Colab needs."""
    if MISSING not in cell:
        raise SystemExit(f"expected a cell with this line:\n{MISSING}\ngot:\n{cell}")
    return cell.replace(MISSING, f"    %pip install --quiet git+{checked(address)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--address", default="", help="of the repository; without one the book has no buttons to it")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    print(yaml.safe_dump(configure(config, arguments.address), sort_keys=False, allow_unicode=True))
